"""Cubic splines through a handful of points, numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spline:
    """A clamped cubic with parabolic runout: first derivative given at the start, second derivative constant over the last piece
    (which is the better guess where a path only ends because the plan does). knots [n + 1]; values, curves [n + 1, D].
    """

    knots: F64
    values: F64
    curves: F64
    """Second derivatives at the knots."""

    @classmethod
    def through(cls, knots: F64, values: F64, start_slope: F64) -> Spline:
        """knots [n + 1], growing; values [n + 1, D]; start_slope [D]. The usual tridiagonal system (de Boor 1978, ch. IV)."""
        n, h = len(knots) - 1, np.diff(knots)
        slopes = np.diff(values, axis=0) / h[:, None]
        system, right = np.zeros((n + 1, n + 1)), np.zeros_like(values)
        system[0, :2], right[0] = (2 * h[0], h[0]), 6 * (slopes[0] - start_slope)
        for i in range(1, n):
            system[i, i - 1 : i + 2] = h[i - 1], 2 * (h[i - 1] + h[i]), h[i]
            right[i] = 6 * (slopes[i] - slopes[i - 1])
        system[n, n - 1 :] = -1.0, 1.0
        return cls(knots, values, np.linalg.solve(system, right).astype(np.float64))

    def __call__(self, at: F64) -> tuple[F64, F64, F64]:
        """Value and first and second derivative at `at` [K], each [K, D]; beyond the ends the outer pieces go on."""
        i = np.clip(np.searchsorted(self.knots, at, side="right") - 1, 0, len(self.knots) - 2)
        h = (self.knots[i + 1] - self.knots[i])[:, None]
        d = (at - self.knots[i])[:, None]
        low, high = self.curves[i], self.curves[i + 1]
        jerk = (high - low) / h
        slope = (self.values[i + 1] - self.values[i]) / h - h * (2 * low + high) / 6
        return (
            self.values[i] + d * (slope + d * (low / 2 + d * jerk / 6)),
            slope + d * (low + d * jerk / 2),
            low + d * jerk,
        )
