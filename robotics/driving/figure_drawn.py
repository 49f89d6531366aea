"""What there is to draw of a planning problem, and the colours all parts of its picture share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robotics.driving.scene import Window

Floats = NDArray[np.floating[Any]]

PLAN_COLOURS = ("#1473e6", "#e8710a", "#9334e6", "#d01884", "#12858d")
DRIVEN, HISTORY, INK, QUIET, PAPER = "#188038", "#5f6368", "#202124", "#80868b", "#ffffff"
DOTTED: Any = (0, (1, 1.2))

DT_S = 0.1
"""Spacing of the points of a curve."""

Curve = tuple[Floats, Floats]
"""Waypoints [5, 2] and the path through them [51, 2] m, ego frame."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A planning problem and its answers. history: [n, 2] m, ego frame, oldest first, the last one now.

    past: times [m] s (at most 0) and speeds [m] m/s; window: the scene around and what was really driven, which only a scene
    knows: one's own images come without it.
    """

    curves: Mapping[str, Curve]
    history: Floats
    past: tuple[Floats, Floats]
    window: Window | None = None

    @property
    def driven(self) -> Floats:
        """[51, 2] m from now on, or [0, 2]."""
        return np.zeros((0, 2)) if self.window is None else np.concatenate([np.zeros((1, 2)), self.window.future], dtype=np.float64)

    def back_to_front(self) -> list[tuple[str, str, Curve]]:
        """Name, colour and curve; the first plan comes last and so lies on top."""
        return [(n, PLAN_COLOURS[k % len(PLAN_COLOURS)], c) for k, (n, c) in enumerate(self.curves.items())][::-1]


def speeds(path: ArrayLike) -> tuple[Floats, Floats]:
    """Times in the middle of every step [n - 1] s from the first point, and speeds [n - 1] m/s. path: [n, 2] m, DT_S apart."""
    step = np.diff(np.asarray(path, dtype=np.float64), axis=0)
    return (np.arange(len(step)) + 0.5) * DT_S, np.hypot(step[:, 0], step[:, 1]) / DT_S
