"""How five waypoints become ten numbers, and back. Shapes: `F` features of the ego's motion.

A model of a few million parameters learns small corrections far more easily than distances. So a checkpoint may write its
trajectory as offsets from a *reference path* that needs no model: constant velocity, or a path fitted to training data. Which one
it was trained with is part of the checkpoint; the planner always returns absolute metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from edge.core.config import Frozen
from edge.core.errors import InputError
from robotics.driving.baselines import constant_velocity
from robotics.driving.path_net import PathNet, motion_features
from robotics.driving.prompt import EgoHistory

F64 = NDArray[np.float64]

WAYPOINT_TIMES_S = np.arange(1.0, 6.0)
"""The five waypoints lie one second apart."""

LIMIT_M = 999.99
"""Largest magnitude a coordinate can be written with."""

NEAR_M = 0.2
"""Distances below this weigh alike in a fit: the noise of the recordings."""


def features(history: EgoHistory, command: str) -> F64:
    """What a fitted path is linear in: float64 [F]. Past points and speeds, motion, route hint, and a few products and hinges.

    The hinges let slow vehicles set off, fast ones settle, and braking ones stop; left and right are treated alike by the fit when
    its examples are mirrored.
    """
    v = history.points[-1].v_mps
    accel, lateral, yaw_rate = history.motion()
    turns = np.array([command == "GO_LEFT", command == "GO_RIGHT"], dtype=np.float64)
    motion = np.array([v, accel, lateral, yaw_rate])
    bends = [v * v, max(0.0, v - 8.0), max(0.0, 3.0 - v), max(0.0, -accel), max(0.0, -accel) * v, accel * abs(accel)]
    past = np.concatenate([history.xy()[:-1].ravel(), [p.v_mps for p in history.points[:-1]]])
    return np.concatenate([[1.0], history.velocity_mps(), motion, past, turns, turns * v, motion[1:] * v, bends])


class FittedPath(Frozen):
    """Offsets from constant velocity, linear in `features`. weights: [F][10], x and y of each waypoint in turn."""

    weights: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _shape(self) -> Self:
        if any(len(row) != 2 * WAYPOINT_TIMES_S.size for row in self.weights):
            raise ValueError(f"every row of weights holds {2 * WAYPOINT_TIMES_S.size} numbers")
        return self

    def offsets(self, history: EgoHistory, command: str) -> F64:
        """[5, 2] m. Raises InputError when the weights were fitted to other features."""
        f = features(history, command)
        if len(self.weights) != f.size:
            raise InputError(f"a fitted path has a row per feature: got {len(self.weights)} rows for {f.size}; fit it again")
        return (f @ np.array(self.weights)).reshape(-1, 2)


def fit(
    examples: Sequence[tuple[EgoHistory, str, ArrayLike]], weights: ArrayLike | None = None, ridge: float = 1e-3, rounds: int = 15
) -> FittedPath:
    """The linear path of least mean distance over (history, command, waypoints [5, 2]), by iteratively reweighted least squares.

    weights: [len(examples)], how much each counts; ridge is relative to the variance of each feature. Distance rather than its
    square, because displacement is what planners are measured by, and because a model that writes zeros where it cannot tell more
    then writes the middle of what happened, not a mean that a few vehicles pull away. `rounds` 0 leaves plain least squares.
    """
    x = np.stack([features(h, c) for h, c, _ in examples])
    y = np.stack([np.asarray(w, dtype=np.float64) - constant_velocity(h.velocity_mps(), WAYPOINT_TIMES_S) for h, _, w in examples])
    given = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    scale = x.std(axis=0)
    scale[scale < 1e-9] = 1.0
    z, target = x / scale, y.reshape(len(y), -1)

    def solve(w: F64) -> F64:
        w = w / w.sum()
        gram = (z * w[:, None]).T @ z + ridge * np.eye(z.shape[1])
        return np.linalg.solve(gram, (z * w[:, None]).T @ target)

    solution = solve(given)
    for _ in range(rounds):
        away = np.linalg.norm((target - z @ solution).reshape(y.shape), axis=-1).mean(axis=1)
        solution = solve(given / np.maximum(away, NEAR_M))
    return FittedPath(weights=tuple(tuple(float(f"{v:.6g}") for v in row) for row in solution / scale[:, None]))


class TrajectoryCoding(Frozen):
    """How five waypoints become ten numbers. Part of the checkpoint: read with another coding, good digits mean another path."""

    kind: Literal["absolute", "cv-offset", "fitted-offset", "network-offset"] = "cv-offset"
    """absolute: ego-frame metres. cv-offset: metres from where constant velocity would lead (zero offsets are that baseline).
    fitted-offset: metres from a linear path fitted to training data. network-offset: metres from that of a small network."""
    resolution_m: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Labels are rounded to a multiple of this: digits below the noise of the recording can only be guessed."""
    fitted: FittedPath | None = None
    """The reference of fitted-offset."""
    network: PathNet | None = None
    """The reference of network-offset, on `path_net.motion_features`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.kind == "fitted-offset") != (self.fitted is not None):
            raise ValueError("kind 'fitted-offset' comes with a fitted path, and no other kind does")
        if (self.kind == "network-offset") != (self.network is not None):
            raise ValueError("kind 'network-offset' comes with a network, and no other kind does")
        return self

    def reference(self, history: EgoHistory, command: str) -> F64:
        """The path [5, 2] m that zeros stand for."""
        if self.kind == "absolute":
            return np.zeros((WAYPOINT_TIMES_S.size, 2))
        path = constant_velocity(history.velocity_mps(), WAYPOINT_TIMES_S)
        if self.network is not None:
            return path + self.network(motion_features(history, command))
        return path if self.fitted is None else path + self.fitted.offsets(history, command)

    def encode(self, waypoints: ArrayLike, history: EgoHistory, command: str) -> F64:
        """waypoints [5, 2] m, ego frame, at 1..5 s -> [5, 2], rounded."""
        out = np.asarray(waypoints, dtype=np.float64) - self.reference(history, command)
        return np.round(out / self.resolution_m) * self.resolution_m + 0.0  # + 0.0 turns -0.0 into 0.0

    def decode(self, coded: ArrayLike, history: EgoHistory, command: str) -> F64:
        """The inverse of `encode` up to rounding: coded [5, 2] to ego-frame metres."""
        return np.asarray(coded, dtype=np.float64) + self.reference(history, command)


def clamp(coded: ArrayLike) -> tuple[F64, NDArray[np.bool_]]:
    """coded [5, 2] held within what can be written, and which coordinates that changed. Raises InputError on NaN or infinity."""
    values = np.asarray(coded, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"a trajectory holds finite metres: got {values.tolist()}")
    held = np.clip(values, -LIMIT_M, LIMIT_M)
    return held, held != values
