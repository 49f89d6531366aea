"""A model small enough to write down: a row's prediction depends on every row that it sees, and on nothing else.

hidden of a row = tanh(sum over the rows that it sees of (embedding + place) decaying with distance), logits = hidden times a
matrix. In float64, so that definitions can be compared to the last digits. The slow side calls it by pairs of (kind, token), kind
"clean" or "noisy"; the fast side by views.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from converters.methods.views import Sample, View, total

VOCAB, HIDDEN, PLACES = 19, 6, 80
MASK, STOP = 17, 18

Row = tuple[str, int]
"""Kind and token."""


class Toy:
    def __init__(self, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)
        make = lambda *size: torch.randn(*size, generator=g, dtype=torch.float64, requires_grad=True)  # noqa: E731
        self.embed, self.place, self.head = make(VOCAB, HIDDEN), make(PLACES, HIDDEN), make(HIDDEN, VOCAB)

    @property
    def weights(self) -> list[Tensor]:
        return [self.embed, self.place, self.head]

    def losses(self, view: View) -> Tensor:
        x = self.embed[view.tokens] + self.place[view.source]
        far = (view.source[:, None] - view.source[None]).abs().double()
        h = torch.tanh((view.seen() * torch.exp(-0.1 * far)) @ x / 4)
        return F.cross_entropy(h[view.at] @ self.head, view.label, reduction="none")

    def loss(self, views: Sequence[View]) -> Tensor:
        return total([self.losses(v) for v in views], views)

    def by_hand(
        self, row: Row, rows: Sequence[Row], shown: Callable[[Row], int], sees: Callable[[Row, Row], bool], label: int
    ) -> Tensor:
        """Cross-entropy of `label` by one row, term by term."""
        h = torch.zeros(HIDDEN, dtype=torch.float64)
        for other in rows:
            if sees(row, other):
                h = h + math.exp(-0.1 * abs(row[1] - other[1])) * (self.embed[shown(other)] + self.place[other[1]])
        return F.cross_entropy((torch.tanh(h / 4) @ self.head)[None], torch.tensor([label]))


def samples(seed: int, count: int = 2, *, turns: int = 2, scaffold: bool = False) -> list[Sample]:
    """Prompts with pictures and answers of odd lengths; every answer ends with the stop token."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        ids, answer, vision, frozen, section = [], [], [], [], []
        for _ in range(1 if scaffold else int(rng.integers(1, turns + 1))):
            prompt, said = int(rng.integers(2, 7)), int(rng.integers(3, 11))
            ids += [*rng.integers(0, MASK, prompt + said).tolist(), STOP]
            answer += [False] * prompt + [True] * (said + 1)
            seen = rng.random(prompt) < 0.5
            seen[-1] = False  # a picture is never the last thing before an answer
            vision += seen.tolist() + [False] * (said + 1)
            frozen += [False] * prompt + (rng.random(said) < 0.4).tolist() + [False]
            section += [-1] * prompt + sorted(rng.integers(0, 3, said).tolist()) + [3]
        arrays = [torch.tensor(a) for a in (ids, answer, vision)]
        more = [torch.tensor(frozen), torch.tensor(section)] if scaffold else []
        out.append(Sample(*arrays, *more))
    return out
