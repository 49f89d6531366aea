"""DiffusionVL (arXiv 2512.15713): blocks on an absolute grid over the whole sample, prompt and pictures included; 1 / t.

sample padded with the stop token, which is learnt, to whole blocks | per block t = (1 - eps) u + eps, u in strata over all
blocks of the batch; answer tokens masked with t | clean rows block-causal, noisy rows see earlier clean blocks and their own
| a masked row says its own token; loss: CE / t, a sample's sum by its answer tokens, the mean of samples
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from converters.methods.noise import EPS, draw, probability, strata
from converters.methods.views import Sample, View, asked, doubled, weighed
from edge.core.config import Frozen


class DiffusionVL(Frozen):
    mask_token_id: int
    stop_id: int
    block_size: int = 8
    eps: float = EPS
    shuffle_strata: bool = True
    """False: as in the release, the level rises along the batch's blocks."""
    stop_aligned: bool = True

    def views(self, samples: Sequence[Sample], rng: np.random.Generator, progress: float = 1.0) -> list[View]:
        if self.stop_aligned:
            samples = [s.padded(self.stop_id, self.block_size, answer=True) for s in samples]
        blocks = [torch.arange(len(s)) // self.block_size for s in samples]
        levels = strata(sum(int(b[-1]) + 1 for b in blocks), rng, shuffle=self.shuffle_strata)
        out, used = [], 0
        for sample, block in zip(samples, blocks, strict=True):
            count = int(block[-1]) + 1
            t = probability(levels[used : used + count], self.eps)[block.numpy()]
            used += count
            view, which = asked(doubled(block, "block"), sample, draw(t, sample.answer, rng), self.mask_token_id, shift=0)
            scale = len(samples) * max(int(sample.answer.sum()), 1)
            out.append(weighed(view, 1 / (torch.from_numpy(t)[which] * scale)))
        return out
