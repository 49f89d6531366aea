"""A joint trajectory between its points, as `joint_trajectory_controller` of ros2_controllers follows one.

Between two points: a line where only positions are given, the cubic through positions and velocities, the quintic through
accelerations too. Shapes: `J` joints, `n` points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError
from robotics.action.messages import Message
from robotics.action.standard import ns_of

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """[J] each: rad, rad/s, rad/s2 (or metres, for joints that slide)."""

    position: F64
    velocity: F64
    acceleration: F64


class JointTrajectory:
    """times [n] s, strictly rising; positions [n, J]; velocities, accelerations [n, J], or None where there are none."""

    def __init__(self, times: F64, positions: F64, velocities: F64 | None, accelerations: F64 | None) -> None:
        self.times, self.positions = times, positions
        self.velocities = velocities
        self.accelerations = accelerations if velocities is not None else None

    @property
    def end_s(self) -> float:
        return float(self.times[-1])

    def at(self, t: float) -> Sample:
        """Before the first point that, behind the last one that one, at rest."""
        nothing = np.zeros(self.positions.shape[1])
        if t <= self.times[0] or t >= self.times[-1]:
            i = 0 if t <= self.times[0] else -1
            return Sample(self.positions[i], nothing, nothing)
        i = int(np.searchsorted(self.times, t, side="right")) - 1
        span = float(self.times[i + 1] - self.times[i])
        coefficients = self._coefficients(i, span)
        powers = ((t - self.times[i]) / span) ** np.arange(len(coefficients))
        k = np.arange(len(coefficients))
        slope = np.concatenate([[0.0], powers[:-1]]) * k / span
        bend = np.concatenate([[0.0, 0.0], powers[:-2]])[: len(k)] * k * (k - 1) / span**2
        return Sample(powers @ coefficients, slope @ coefficients, bend @ coefficients)

    def _coefficients(self, i: int, span: float) -> F64:
        """Of the polynomial of the span's share, [2, 4 or 6, J]."""
        p, q = self.positions[i], self.positions[i + 1]
        if self.velocities is None:
            return np.stack([p, q - p])
        v, w = self.velocities[i] * span, self.velocities[i + 1] * span
        d = q - p
        if self.accelerations is None:
            return np.stack([p, v, 3 * d - 2 * v - w, v + w - 2 * d])
        a, b = self.accelerations[i] * span**2, self.accelerations[i + 1] * span**2
        return np.stack(
            [
                p,
                v,
                a / 2,
                10 * d - 6 * v - 4 * w - 1.5 * a + 0.5 * b,
                -15 * d + 8 * v + 7 * w + 1.5 * a - b,
                6 * d - 3 * (v + w) - 0.5 * a + 0.5 * b,
            ]
        )


def read(message: Message, joints: Sequence[str]) -> JointTrajectory:
    """Of a trajectory_msgs/JointTrajectory, in the order of `joints`. Raises InputError for one that cannot be followed."""
    names, points = message["joint_names"], message["points"]
    if sorted(names) != sorted(joints):
        raise InputError(f"joint_names: must be {', '.join(joints)}: got {', '.join(names)[:80] or 'none'}")
    if not points:
        raise InputError("points: there is none; send at least one")
    times = np.array([ns_of(p["time_from_start"]) for p in points]) / 1e9
    if times[0] < 0 or (np.diff(times) <= 0).any():
        raise InputError("time_from_start: must rise from point to point, from 0 on")
    order = [names.index(j) for j in joints]
    columns = [_column(points, field, order) for field in ("positions", "velocities", "accelerations")]
    if columns[0] is None:
        raise InputError("positions: every point needs one for each joint")
    return JointTrajectory(times, columns[0], columns[1], columns[2])


def _column(points: Sequence[Message], field: str, order: Sequence[int]) -> F64 | None:
    """None where no point has it."""
    rows = [p[field] for p in points]
    if not any(len(r) for r in rows):
        return None
    if any(len(r) != len(order) for r in rows) or not np.isfinite(np.concatenate(rows)).all():
        raise InputError(f"{field}: every point needs a finite one for each of {len(order)} joints, or none")
    return np.array(rows, dtype=np.float64)[:, order]
