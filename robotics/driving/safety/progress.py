"""How far along its path a plan is at every moment: five distances become a smooth motion from the present speed.

A smoothing spline rather than one through the points. Waypoints carry noise of a tenth of a metre (of recordings, of digits, of
the model), and a curve forced through them would report accelerations that nobody planned: of the human drives of the recorded
validation windows, 38 % would break a bound (most of them of comfort) instead of 14 %.

Acceleration is linear between points 0.1 s apart; the motion minimises

    sum over k = 1..5 of (s(k) - s_k)^2  +  (NOISE_M / JERK_MPS3)^2 * integral of jerk^2,      s(0) = 0, s'(0) = v0

which is linear in s_k - k v0, so that its matrices are made once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotics.driving.safety.trajectory import DT_S, POINTS, TIMES_S

F64 = NDArray[np.float64]

NOISE_M = 0.1
"""What a waypoint may be off by: the resolution that checkpoints write."""
JERK_MPS3 = 1.0
"""What is as unlikely as being off by that, over a second: an ordinary jerk."""
SECONDS = np.arange(1.0, 6.0)
ROUNDING_M = 1e-9


def integrals() -> tuple[F64, F64]:
    """Speed and distance at the 51 times, per acceleration at each of them: [51, 51] twice, exact for linear pieces."""
    accel, speed, way = np.eye(POINTS), np.zeros((POINTS, POINTS)), np.zeros((POINTS, POINTS))
    for k in range(1, POINTS):
        speed[k] = speed[k - 1] + (accel[k - 1] + accel[k]) * DT_S / 2
        way[k] = way[k - 1] + speed[k - 1] * DT_S + (2 * accel[k - 1] + accel[k]) * DT_S**2 / 6
    return speed, way


def _solution() -> F64:
    """[51, 5]: accelerations per metre of s_k - k v0."""
    at = integrals()[1][10::10]
    jerk = np.diff(np.eye(POINTS), axis=0) / DT_S
    normal = at.T @ at + (NOISE_M / JERK_MPS3) ** 2 * DT_S * jerk.T @ jerk
    return np.linalg.solve(normal, at.T).astype(np.float64)


ACCEL = _solution()
SPEED, WAY = (m @ ACCEL for m in integrals())


def motion(at_seconds: F64, speed_mps: float) -> tuple[F64, F64, F64]:
    """Distance m, speed m/s and acceleration m/s2 at the 51 times; at_seconds: [5] m at 1..5 s.

    A smooth curve rings where a plan stops. It never runs backwards, not even between two of the times: there the vehicle stands.
    """
    asked = at_seconds - speed_mps * SECONDS
    way, speed, accel = speed_mps * TIMES_S + WAY @ asked, speed_mps + SPEED @ asked, ACCEL @ asked
    if (speed >= 0).all() and (np.diff(way) >= -ROUNDING_M).all():
        return way, speed, accel
    forward = np.maximum(speed, 0.0)
    way = np.concatenate([[0.0], np.cumsum((forward[1:] + forward[:-1]) * DT_S / 2)])
    return way, forward, np.where(speed > 0, accel, 0.0)
