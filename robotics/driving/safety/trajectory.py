"""A dense trajectory: 51 points at 10 Hz over 5 s, in the ego frame of the moment it was planned for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

DT_S = 0.1
POINTS = 51
TIMES_S = np.arange(POINTS) * DT_S
COLUMNS = ("t", "x", "y", "yaw", "v", "a", "kappa")
_AT = {name: n for n, name in enumerate(COLUMNS)}
DECIMALS = 9
"""Trajectories are rounded before they are checked, so that what was checked is what is sent."""


def steps(column: F64) -> F64:
    """What each value adds to the one before, [n - 1]: `numpy.diff` at a fifth of its cost, which is all overhead at this size."""
    return column[1:] - column[:-1]


@dataclass(frozen=True, slots=True)
class Trajectory:
    """points: [51, 7], columns t s, x m, y m, yaw rad, v m/s, a m/s2, kappa 1/m. yaw is continuous: it is not wrapped."""

    points: F64

    @classmethod
    def of(cls, x: F64, y: F64, yaw: F64, v: F64, a: F64, kappa: F64) -> Trajectory:
        """From columns of 51, rounded."""
        columns = np.stack([TIMES_S, x, y, yaw, v, a, kappa], axis=1).astype(np.float64)
        return cls(columns.round(DECIMALS) + 0.0)  # + 0.0 turns -0.0 into 0.0

    def __getattr__(self, name: str) -> F64:
        """A column by its name."""
        if (at := _AT.get(name)) is not None:
            return self.points[:, at]
        raise AttributeError(name)

    @property
    def xy(self) -> F64:
        """[51, 2] m."""
        return self.points[:, 1:3]

    @property
    def length_m(self) -> float:
        return float(self.steps_m().sum())

    def steps_m(self) -> F64:
        """From each point to the next, [50]."""
        return np.hypot(steps(self.x), steps(self.y))


STANDING = Trajectory.of(*np.zeros((6, POINTS)))
"""Stands where it is: what is left to say when nothing is known of the ego."""
