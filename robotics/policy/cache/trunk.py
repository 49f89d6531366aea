"""Caches that compute all units of a step or none of them.

What the units add up to is taken over or forecast at steps that compute none. A forecast is linear, so that of the sum is the sum
of the units' own forecasts, for the price of one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from robotics.policy.cache.forecast import Differences
from robotics.policy.denoiser import Denoiser
from robotics.policy.evaluation import Evaluation


class TrunkCache(ABC):
    """order: of the forecast; 0 takes the last sum over."""

    def __init__(self, order: int = 0) -> None:
        self.order = order
        Differences(order)  # refused here, not in the middle of a query

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        self.steps = steps
        self._sum = Differences(self.order)

    @abstractmethod
    def due(self, step: int, h: Tensor) -> bool:
        """Whether the units are computed at this step. h: their input, [B, H, E]. The first step always is."""

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        h = start = evaluation.start()
        if self.due(evaluation.step, start) or evaluation.step == 0:
            for u in range(evaluation.denoiser.units):
                h = h + evaluation.unit(u, h)
            self._sum.observe(h - start, evaluation.step)
        else:
            h = h + self.taken_over(evaluation.step)
        return evaluation.finish(h)

    def taken_over(self, step: int) -> Tensor:
        """What stands for the sum of the units at a step that computes none, [B, H, E]."""
        return self._sum.at(step)


def relative(now: Tensor, before: Tensor) -> float:
    """Relative distance of L1 norms, |now - before| / |before|: what gates look at."""
    return float((now - before).abs().mean() / before.abs().mean().clamp(min=1e-12))
