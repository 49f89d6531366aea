"""Displacement errors: how far a path is from the one that was driven."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]


def displacement(pred: ArrayLike, truth: ArrayLike) -> F64:
    """Euclidean distance at every point: [..., K, 2] twice -> [..., K] m."""
    return np.linalg.norm(np.asarray(pred, dtype=np.float64) - np.asarray(truth, dtype=np.float64), axis=-1)


def grid_errors(path: ArrayLike, future: ArrayLike) -> F64:
    """Distances [..., 10] m on the 0.5 s grid. path: [..., 10, 2] on the grid; future: [..., 50, 2], a window's 10 Hz future."""
    return displacement(path, np.asarray(future)[..., 4::5, :])


def ade(pred: ArrayLike, truth: ArrayLike, horizon_s: float = 5.0, grid_s: float = 0.5) -> F64:
    """Average displacement error up to and with `horizon_s`: mean over points at grid_s, 2 grid_s, ... -> [...] m."""
    return displacement(pred, truth)[..., : index(horizon_s, grid_s) + 1].mean(axis=-1)


def fde(pred: ArrayLike, truth: ArrayLike, horizon_s: float = 5.0, grid_s: float = 0.5) -> F64:
    """Final displacement error: the distance at `horizon_s` -> [...] m."""
    return displacement(pred, truth)[..., index(horizon_s, grid_s)]


def index(horizon_s: float, grid_s: float = 0.5) -> int:
    """The point of a grid that lies at a horizon: 0 is the first one, at grid_s."""
    return round(horizon_s / grid_s) - 1
