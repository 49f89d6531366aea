"""One evaluation of a denoiser, unit by unit, and what it cost.

Whoever drives it decides which units are computed; nothing is computed that was not asked for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from robotics.policy.denoiser import Denoiser


@dataclass(slots=True)
class Account:
    """Evaluations since it was opened. units: by unit; parts: by unit, rows that were computed and rows that there are; around: of
    embedding and head.
    """

    units: Counter[int] = field(default_factory=Counter)
    parts: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    around: int = 0

    @property
    def unit_evaluations(self) -> float:
        """Those of some rows alone count by their share."""
        return self.units.total() + sum(n * some / whole for (_, some, whole), n in self.parts.items())

    def flops(self, denoiser: Denoiser, batch: int = 1) -> int:
        """Multiplications and additions. The condition, made once a query, is not among them."""
        units = sum(n * denoiser.flops(u) for u, n in self.units.items())
        units += sum(n * denoiser.flops(u, some) for (u, some, _), n in self.parts.items())
        return batch * (units + self.around * denoiser.flops_around())


class Evaluation:
    """A denoiser at one step on one batch of noisy actions."""

    __slots__ = ("_account", "_condition", "actions", "denoiser", "step")

    def __init__(self, denoiser: Denoiser, actions: Tensor, condition: Any, step: int, account: Account) -> None:
        self.denoiser, self.actions, self.step = denoiser, actions, step
        self._condition, self._account = condition, account

    def start(self) -> Tensor:
        self._account.around += 1
        return self.denoiser.start(self.actions, self._condition, self.step)

    def unit(self, number: int, h: Tensor) -> Tensor:
        self._account.units[number] += 1
        return self.denoiser.unit(number, h, self._condition, self.step)

    def rows(self, number: int, h: Tensor, rows: Tensor) -> Tensor:
        """What the unit adds to some rows of h, [B, R, E]. rows: int64 [R]."""
        self._account.parts[number, len(rows), h.shape[1]] += 1
        return self.denoiser.unit(number, h, self._condition, self.step, rows)

    def rest(self, resting: Any) -> Tensor:
        """The prediction without a unit. resting: of `Denoiser.resting`."""
        self._account.around += 1
        return self.denoiser.rest(self.actions, resting, self._condition, self.step)

    def finish(self, h: Tensor) -> Tensor:
        return self.denoiser.finish(h, self._condition, self.step)

    def by(self, denoiser: Denoiser) -> Evaluation:
        """The same by another denoiser of the same form, on the same account."""
        return Evaluation(denoiser, self.actions, self._condition, self.step, self._account)
