"""Fast-dVLM (arXiv 2604.06832): blocks counted from each answer's beginning, causal context, two losses.

    blocks end with their answer | per block t ~ U, p = (1 - eps) t + eps, answer tokens masked with p in one row and the others
    in a second row; the token that ends a turn is masked in both | clean rows causal token by token; noisy rows see the clean
    ones of earlier turns and their own block; no noisy rows of pictures (vision-efficient) | loss: 0.5 mean over masked tokens +
    0.5 mean over answer tokens of the clean rows, both shifted by one | block size 1/8, 1/4, 1/2 and all of it from 0, 1/16, 1/4,
    9/16 on

An answer's first token is said by the clean row before it, which sees the pictures; in the released code it is said by a noisy
row of the prompt that does not, and the loss depends on whether pictures have noisy rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from converters.layout import annealed
from converters.methods.noise import EPS, draw, probability
from converters.methods.views import Sample, View, answer_blocks, asked, doubled, extended, next_tokens, weighed
from edge.core.config import Frozen
from edge.core.errors import InputError


class FastDvlm(Frozen):
    mask_token_id: int
    stop_id: int
    block_size: int = 32
    eps: float = EPS
    complementary: bool = True
    causal_context: bool = True
    """False: clean rows see their own block whole (an ablation of the paper). They then see what a next-token loss would ask
    them, so it goes with `clean_weight` 0."""
    anneal: bool = True
    vision_efficient: bool = True
    noisy_weight: float = 0.5
    clean_weight: float = 0.5

    def views(self, samples: Sequence[Sample], rng: np.random.Generator, progress: float = 1.0) -> list[View]:
        if not self.causal_context and self.clean_weight:
            raise InputError(
                "fast_dvlm: causal_context = false goes with clean_weight = 0: clean rows would see what they are asked"
            )
        size = annealed(self.block_size, progress) if self.anneal else self.block_size
        out: list[View] = []
        clean: list[tuple[int, torch.Tensor, torch.Tensor]] = []
        for sample in samples:
            block = answer_blocks(sample.answer, size)
            keep = ~sample.vision if self.vision_efficient and sample.vision is not None else None
            rows = doubled(block, "causal" if self.causal_context else "block", keep)
            p = probability(rng.random(int(block[-1]) + 1), self.eps)[block.numpy()]
            stop = sample.answer & (sample.ids == self.stop_id)
            hidden = draw(p, sample.answer, rng)
            clean.append((len(out), *next_tokens(rows, sample)))
            for one in (hidden | stop, (sample.answer & ~hidden) | stop)[: 1 + self.complementary]:
                out.append(asked(rows, sample, one, self.mask_token_id, shift=1)[0])
        masked, told = sum(len(view.at) for view in out), sum(len(at) for _, at, _ in clean)
        out = [weighed(view, view.weight * self.noisy_weight / max(masked, 1)) for view in out]
        if self.clean_weight:
            for (n, at, which), sample in zip(clean, samples, strict=True):
                out[n] = extended(out[n], at, sample.ids[which], self.clean_weight / max(told, 1))
        return out
