"""ZEUS: whole evaluations are left out, and the network's output is extrapolated (arXiv 2604.01552).

Nothing of the network is kept. A skipped step takes 2 y - y', of the last two outputs that were computed; where several are skipped
in a row, extrapolation and the last output itself take turns, so that no extrapolation is built on another.
"""

from __future__ import annotations

from torch import Tensor

from edge.core.errors import InputError
from robotics.policy.denoiser import Denoiser
from robotics.policy.evaluation import Evaluation


class ZeusCache:
    """period, computed: of `period` steps the first `computed` are; start, end: shares of the steps outside which all are."""

    def __init__(self, period: int, computed: int = 1, start: float = 0.2, end: float = 0.9) -> None:
        """Raises InputError for a pattern that computes none or more than all, or bounds that are no shares."""
        if not 1 <= computed <= period or not 0 <= start <= end <= 1:
            raise InputError(
                f"{computed} of {period} steps between {start} and {end}: at least one of a period, and shares in order from 0 to 1"
            )
        self.period, self.computed, self.start, self.end = period, computed, start, end

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        self._first, self._end = max(2, round(self.start * steps)), round(self.end * steps)
        self._outputs: list[Tensor] = []
        self._skipped = 0

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        step = evaluation.step
        if self._first <= step < self._end and (step - self._first) % self.period < self.period - self.computed:
            self._skipped += 1
            last, before = self._outputs[-1], self._outputs[-2]
            return 2 * last - before if self._skipped % 2 else last
        h = evaluation.start()
        for u in range(evaluation.denoiser.units):
            h = h + evaluation.unit(u, h)
        self._outputs = [*self._outputs[-1:], evaluation.finish(h)]
        self._skipped = 0
        return self._outputs[-1]
