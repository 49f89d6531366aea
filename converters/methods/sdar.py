"""SDAR and SDAR-VL: blocks on an absolute grid of each sample, block-causal context, no shift.

sdar: t ~ U a sample, p = (1 - eps) t + eps | loss: CE / p over the batch's answer tokens
sdar_vl: a level of its own for every block, from Beta(m C, (1 - m) C) with C rising along the run | loss: CE by the share
that was really masked in the block
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from converters.methods.noise import EPS, annealed, beta, draw, probability
from converters.methods.views import Sample, View, asked, doubled, weighed
from edge.core.config import Frozen


class Sdar(Frozen):
    mask_token_id: int
    block_size: int = 4
    eps: float = EPS

    def views(self, samples: Sequence[Sample], rng: np.random.Generator, progress: float = 1.0) -> list[View]:
        told = max(sum(int(s.answer.sum()) for s in samples), 1)
        out = []
        for sample in samples:
            p = float(probability(rng.random(1), self.eps)[0])
            rows = doubled(torch.arange(len(sample)) // self.block_size, "block")
            view, _ = asked(rows, sample, draw(np.full(len(sample), p), sample.answer, rng), self.mask_token_id, shift=0)
            out.append(weighed(view, view.weight / (p * told)))
        return out


class SdarVL(Frozen):
    mask_token_id: int
    block_size: int = 4
    mean: float = 0.8
    concentration: tuple[float, float] = (2.0, 50.0)
    """C at the beginning and at the end."""

    def views(self, samples: Sequence[Sample], rng: np.random.Generator, progress: float = 1.0) -> list[View]:
        told = max(sum(int(s.answer.sum()) for s in samples), 1)
        c = annealed(progress, *self.concentration)
        out = []
        for sample in samples:
            block = torch.arange(len(sample)) // self.block_size
            t = beta(self.mean, c, int(block[-1]) + 1, rng)
            hidden = draw(t[block.numpy()], sample.answer, rng)
            view, which = asked(doubled(block, "block"), sample, hidden, self.mask_token_id, shift=0)
            share = torch.bincount(block[hidden], minlength=len(t)).double() / torch.bincount(
                block[sample.answer], minlength=len(t)
            ).clamp(min=1)
            out.append(weighed(view, 1 / (share[block[which]] * told)))
        return out
