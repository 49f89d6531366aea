"""Confidence-gated Taylor: the first layer is computed, and tells whether forecasts can be trusted (arXiv 2508.02240).

If the forecast of the first layer's output is close to what it really is, the forecast of the last layer's output is taken and all
other layers are skipped; else everything is computed and both forecasts are renewed.
"""

from __future__ import annotations

from torch import Tensor

from edge.core.errors import InputError
from robotics.policy.cache.bubbling import KINDS
from robotics.policy.cache.forecast import Differences
from robotics.policy.cache.trunk import relative
from robotics.policy.denoiser import Denoiser
from robotics.policy.evaluation import Evaluation


class GatedTaylorCache:
    """gate: relative distance of the first layer's forecast below which that of the last is taken; order: of both."""

    def __init__(self, gate: float, order: int = 1, warm_up: int = 2) -> None:
        """Raises InputError for a negative gate, an order that there is no forecast of, or no warm-up."""
        if not gate >= 0 or warm_up < 1:
            raise InputError(f"gate {gate}, warm_up {warm_up}: a distance from 0 on, and at least one step that is computed whole")
        Differences(order)
        self.gate, self.order, self.warm_up = gate, order, warm_up

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        self._first, self._last = Differences(self.order), Differences(self.order)

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        h, step = evaluation.start(), evaluation.step
        for u in range(len(KINDS)):
            h = h + evaluation.unit(u, h)
        if step >= self.warm_up and relative(self._first.at(step), h) < self.gate:
            return evaluation.finish(self._last.at(step))
        self._first.observe(h, step)
        for u in range(len(KINDS), evaluation.denoiser.units):
            h = h + evaluation.unit(u, h)
        self._last.observe(h, step)
        return evaluation.finish(h)
