"""TeaCache: units are computed once the input has moved far enough since they last were (arXiv 2411.19108).

The distance from step to step is made comparable with that of outputs by a polynomial, fitted for each policy, and added up. The
paper takes the first block's modulated input; time enters a decoder as a token instead, so here it is the embedded noisy actions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edge.core.errors import InputError
from robotics.policy.cache.trunk import TrunkCache, relative
from robotics.policy.denoiser import Denoiser
from robotics.policy.evaluation import Evaluation


class TeaCache(TrunkCache):
    """threshold: distance after which units are computed anew; polynomial: coefficients, that of the highest power first."""

    def __init__(self, threshold: float, polynomial: Sequence[float] = (1.0, 0.0)) -> None:
        """Raises InputError for a negative threshold."""
        super().__init__()
        if not threshold >= 0:
            raise InputError(f"threshold {threshold}: a distance; choose 0 (no reuse) or more")
        self.threshold, self.polynomial = threshold, tuple(polynomial)

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        super().begin(denoiser, steps)
        self._moved, self._before = 0.0, None

    def due(self, step: int, h: Tensor) -> bool:
        before, self._before = self._before, h
        if before is not None and step < self.steps - 1:
            self._moved += max(0.0, float(np.polyval(self.polynomial, relative(h, before))))
            if self._moved < self.threshold:
                return False
        self._moved = 0.0
        return True


class Distances:
    """A cache that reuses nothing and notes how far inputs and sums of outputs move from step to step."""

    def __init__(self) -> None:
        self.pairs: list[tuple[float, float]] = []

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        self._before: tuple[Tensor, Tensor] | None = None

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        h = start = evaluation.start()
        for u in range(evaluation.denoiser.units):
            h = h + evaluation.unit(u, h)
        now = start, h - start
        if self._before is not None:
            self.pairs.append((relative(now[0], self._before[0]), relative(now[1], self._before[1])))
        self._before = now
        return evaluation.finish(h)

    def fitted(self, degree: int = 4) -> NDArray[np.float64]:
        """The polynomial from distances of inputs to those of outputs. Raises InputError for too few of them."""
        if len(self.pairs) <= degree:
            raise InputError(f"{len(self.pairs)} distances for a polynomial of degree {degree}: record more queries")
        x, y = np.array(self.pairs).T
        return np.polyfit(x, y, degree)
