"""Fast-dLLM v2 (arXiv 2509.26328): text, blocks on an absolute grid, complementary masks, predictions shifted by one.

sample padded with masks to whole blocks | per block t ~ U, p = (1 - eps) t + eps, answer tokens masked with p in one row and
the others in a second row | clean rows block-causal, noisy rows see earlier clean blocks and their own | loss: mean over
masked tokens of both rows, no 1 / t
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from converters.methods.noise import EPS, draw, probability
from converters.methods.views import Sample, View, asked, doubled, weighed
from edge.core.config import Frozen


class FastDllmV2(Frozen):
    mask_token_id: int
    block_size: int = 32
    eps: float = EPS
    complementary: bool = True
    """A second row masks what the first one does not."""

    def views(self, samples: Sequence[Sample], rng: np.random.Generator, progress: float = 1.0) -> list[View]:
        out = []
        for sample in samples:
            whole = sample.padded(self.mask_token_id, self.block_size, answer=False)
            block = torch.arange(len(whole)) // self.block_size
            rows = doubled(block, "block")
            p = probability(rng.random(int(block[-1]) + 1), self.eps)[block.numpy()]
            hidden = draw(p, whole.answer, rng)
            for one in (hidden, whole.answer & ~hidden)[: 1 + self.complementary]:
                out.append(asked(rows, whole, one, self.mask_token_id, shift=1, first="noisy")[0])
        masked = sum(len(view.at) for view in out)
        return [weighed(view, view.weight / max(masked, 1)) for view in out]
