"""LaViDa (arXiv 2505.16839): full attention, two complementary views of every sample, weight 1.

    t ~ U a sample, p = (1 - eps) t + eps; the bar is max(p, the least draw), so that something is always drawn | view 1 masks
    what lies below the bar, view 2 the other answer tokens | loss: mean over masked tokens of both views: every answer token
    counts once | fill in the middle: a share of samples has a hole, tokens that are never masked and never asked in it

The paper writes 1 / t, its code has none; `inverse` brings it back, for one view alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from converters.methods.noise import EPS, draw_one_at_least, probability
from converters.methods.views import Sample, View, alone, asked, weighed
from edge.core.config import Frozen
from edge.core.errors import InputError


class LaViDa(Frozen):
    mask_token_id: int
    eps: float = EPS
    complementary: bool = True
    inverse: bool = False
    """Weight 1 / p in place of 1; the second of two views has another share masked, so it goes without `complementary`."""
    shift: Literal[0, 1] = 0
    """0: LLaDA; 1: Dream."""

    def views(self, samples: Sequence[Sample], rng: np.random.Generator, progress: float = 1.0) -> list[View]:
        if self.inverse and self.complementary:
            raise InputError("lavida: inverse goes with complementary = false: the second view's share is not p")
        out, levels = [], []
        for sample in samples:
            p = float(probability(rng.random(1), self.eps)[0])
            free = sample.answer if sample.frozen is None else sample.answer & ~sample.frozen
            hidden = draw_one_at_least(p, free, rng)
            rows = alone(len(sample))
            for one in (hidden, free & ~hidden)[: 1 + self.complementary]:
                out.append(asked(rows, sample, one, self.mask_token_id, self.shift, first="noisy")[0])
                levels.append(p)
        masked = max(sum(len(view.at) for view in out), 1)
        return [weighed(v, v.weight / masked / (p if self.inverse else 1)) for v, p in zip(out, levels, strict=True)]


def hole(answer: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """bool [L], a run of `share` of an answer's tokens that stays empty while the rest is learnt (the stage of filling in the
    middle)."""
    which = answer.nonzero().flatten()
    count = round(len(which) * share)
    first = int(rng.integers(0, len(which) - count + 1))
    out = torch.zeros_like(answer)
    out[which[first : first + count]] = True
    return out
