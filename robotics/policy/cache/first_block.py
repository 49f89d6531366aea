"""FBCache and DBCache: the first units say whether the ones behind them are worth computing (ParaAttention; cache-dit).

At every step the first layers are computed. If what they add is close to what they added when all units were computed last, the
sum of the middle ones is taken over from there, and the last layers are computed on top.
"""

from __future__ import annotations

from torch import Tensor

from edge.core.errors import InputError
from robotics.policy.cache.bubbling import KINDS
from robotics.policy.cache.trunk import relative
from robotics.policy.denoiser import Denoiser
from robotics.policy.evaluation import Evaluation


class FirstBlockCache:
    """threshold: relative distance below which the middle is taken over; first, last: layers that are always computed; warm_up:
    first steps that are computed whole; most: steps in a row that may be taken over.
    """

    def __init__(self, threshold: float, first: int = 1, last: int = 0, warm_up: int = 1, most: int = 8) -> None:
        """Raises InputError for a negative threshold, no first layer, or counts below zero."""
        if not threshold >= 0 or first < 1 or last < 0 or warm_up < 0 or most < 0:
            raise InputError(
                f"threshold {threshold}, first {first}, last {last}, warm_up {warm_up}, most {most}: none may be negative, and at "
                "least one layer has to be looked at"
            )
        self.threshold, self.first, self.last, self.warm_up, self.most = threshold, first, last, warm_up, most

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        """Raises InputError for a denoiser that has no layer in the middle."""
        layers = denoiser.units // len(KINDS)
        if self.first + self.last >= layers:
            raise InputError(f"first {self.first} and last {self.last}: nothing is left of {layers} layers to take over; fewer")
        self._middle = range(len(KINDS) * self.first, denoiser.units - len(KINDS) * self.last)
        self._seen: Tensor | None = None
        self._kept: Tensor | None = None
        self._reused = 0

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        h = start = evaluation.start()
        for u in range(self._middle.start):
            h = h + evaluation.unit(u, h)
        seen = h - start
        if self._kept is not None and self._close(seen, evaluation.step):
            self._reused += 1
            h = h + self._kept
        else:
            self._seen, self._reused, before = seen, 0, h
            for u in self._middle:
                h = h + evaluation.unit(u, h)
            self._kept = h - before
        for u in range(self._middle.stop, evaluation.denoiser.units):
            h = h + evaluation.unit(u, h)
        return evaluation.finish(h)

    def _close(self, seen: Tensor, step: int) -> bool:
        if step < self.warm_up or self._reused >= self.most:
            return False
        assert self._seen is not None
        return relative(seen, self._seen) < self.threshold
