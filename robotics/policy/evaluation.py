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
    """Evaluations since it was opened. units: by unit; around: of embedding and head."""

    units: Counter[int] = field(default_factory=Counter)
    around: int = 0

    @property
    def unit_evaluations(self) -> int:
        return self.units.total()

    def flops(self, denoiser: Denoiser, batch: int = 1) -> int:
        """Multiplications and additions. The condition, made once a query, is not among them."""
        units = sum(n * denoiser.flops(u) for u, n in self.units.items())
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

    def finish(self, h: Tensor) -> Tensor:
        return self.denoiser.finish(h, self._condition, self.step)
