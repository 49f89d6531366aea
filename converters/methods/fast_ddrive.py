"""Fast-dDrive (arXiv 2605.23163): an answer with a frozen scaffold, blocks of sections, noise and weight of each.

a section's open tokens in chunks of the block size; a frozen token is in the block of the next open one of its section, else
of the one before | per block t ~ Beta(a, b) of its section | frozen tokens are never masked and never asked, the token that
ends a turn is masked in both rows | loss: (sum over sections w CE of masked tokens of both rows + CE of the clean rows) / (2
N), N answer tokens
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from converters.methods.noise import EPS, draw, probability
from converters.methods.views import Sample, View, asked, doubled, extended, next_tokens, weighed
from edge.core.config import Frozen
from edge.core.errors import InputError

SECTIONS = ("critical_objects", "explanation", "future_meta_behavior", "trajectory")
NOISE = {0: (1.0, 2.0), 1: (1.0, 1.0), 2: (1.0, 1.5), 3: (2.0, 1.0)}
WEIGHTS = {0: 1.5, 1: 1.0, 2: 2.0, 3: 3.0}
"""Of the sections in that order."""


class FastDdrive(Frozen):
    mask_token_id: int
    stop_id: int
    block_size: int = 32
    eps: float = EPS
    beta: Mapping[int, tuple[float, float]] = Field(default_factory=lambda: dict(NOISE))
    weights: Mapping[int, float] = Field(default_factory=lambda: dict(WEIGHTS))
    complementary: bool = True

    def views(self, samples: Sequence[Sample], rng: np.random.Generator, progress: float = 1.0) -> list[View]:
        out: list[View] = []
        items = 2 * sum(int(s.answer.sum()) for s in samples)
        for sample in samples:
            if sample.frozen is None or sample.section is None:
                raise InputError("sample: fast_ddrive needs its frozen tokens and sections; build it from a scaffold")
            block, section = section_blocks(sample, self.block_size)
            rows = doubled(block, "causal")
            a, b = np.array([self.beta.get(s, (1.0, 1.0)) for s in section]).T
            p = probability(rng.beta(a, b), self.eps)[block.numpy()]
            free = sample.answer & ~sample.frozen
            stop = free & (sample.ids == self.stop_id)
            hidden = draw(p, free, rng)
            by_section = torch.tensor([self.weights.get(int(s), 1.0) for s in sample.section], dtype=torch.float64)
            first = len(out)
            for one in (hidden | stop, (free & ~hidden) | stop)[: 1 + self.complementary]:
                view, which = asked(rows, sample, one, self.mask_token_id, shift=1)
                out.append(weighed(view, by_section[which] / items))
            at, which = next_tokens(rows, sample)
            out[first] = extended(out[first], at, sample.ids[which], 1 / items)
        return out


def section_blocks(sample: Sample, size: int) -> tuple[Tensor, list[int]]:
    """Blocks, int64 [L], the prompt being the first; and the section of each, -1 of the prompt."""
    assert sample.frozen is not None
    assert sample.section is not None
    free = sample.answer & ~sample.frozen
    block, of = torch.zeros(len(sample), dtype=torch.long), [-1]
    for name in torch.unique_consecutive(sample.section[sample.answer]).tolist():
        inside = (sample.answer & (sample.section == name)).nonzero().flatten()
        if len(inside) and int(inside[-1] - inside[0]) + 1 != len(inside):
            raise InputError(f"sample: section {name} is in two places")
        rank = (
            torch.cumsum(free[inside].long(), 0) - free[inside].long()
        )  # open tokens before each: a frozen one has the next one's rank
        last = int(free[inside].sum()) - 1
        chunk = rank.clamp(max=max(last, 0)) // size
        block[inside] = len(of) + chunk
        of += [int(name)] * (int(chunk[-1]) + 1)
    return block, of
