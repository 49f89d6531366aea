"""Follows a path: two linear-quadratic regulators, one along it and one across it, on top of what the path itself asks for.

Both are of third order and command a rate, so that the feedback knows that actuators take time. Along: (metres ahead of the plan,
speed, acceleration), commanded by jerk. Across: (metres left of the path, course, steering angle), commanded by the steering rate.
Source: discrete-time LQR by the algebraic Riccati equation; the split along and across as in nuPlan's LQRTracker, which regulates
fewer quantities.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_are

from robotics.driving.closed_loop.bicycle import Bicycle, State
from robotics.driving.closed_loop.path import Path

F64 = NDArray[np.float64]

ALONG_Q, ALONG_R = (1.0, 1.0, 0.1), 0.15
ACROSS_Q, ACROSS_R = (1.0, 4.0, 0.0), 8.0
SLOWEST_MPS = 1.5
"""Below this speed the regulator across the path goes on as at it: a standing vehicle cannot be steered anywhere."""
_SPEED_STEP_MPS = 0.5


def hold(a: F64, b: F64, dt_s: float) -> tuple[F64, F64]:
    """Zero-order hold of a chain of three integrators (a [3, 3] with a^3 = 0, b [3, 1]): exact, its series ends."""
    eye = np.eye(3)
    return eye + a * dt_s + a @ a * dt_s**2 / 2, (eye * dt_s + a * dt_s**2 / 2 + a @ a * dt_s**3 / 6) @ b


def gain(a: F64, b: F64, q: F64, r: F64) -> F64:
    """K [1, 3] of u = -K z, which makes the sum of z'qz + u'ru over z' = a z + b u least."""
    p = solve_discrete_are(a, b, q, r)
    return np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)


@lru_cache(maxsize=4)
def along_gain(dt_s: float) -> F64:
    """[3]"""
    a, b = hold(np.diag([1.0, 1.0], 1), np.array([[0.0], [0.0], [1.0]]), dt_s)
    return gain(a, b, np.diag(ALONG_Q), np.array([[ALONG_R]]))[0]


@lru_cache(maxsize=512)
def across_gain(speed_mps: float, wheelbase_m: float, dt_s: float) -> F64:
    """[3]. e' = v c; c' = v/L d, and half the steering rate, because the centre's slip is about half the steering angle; d' = u."""
    a = np.array([[0.0, speed_mps, 0.0], [0.0, 0.0, speed_mps / wheelbase_m], [0.0, 0.0, 0.0]])
    a, b = hold(a, np.array([[0.0], [0.5], [1.0]]), dt_s)
    return gain(a, b, np.diag(ACROSS_Q), np.array([[ACROSS_R]]))[0]


def follow(bicycle: Bicycle, s: State, path: Path, age_s: float, dt_s: float = 0.1) -> State:
    """`s` with the acceleration and the steering angle to hold for the next `dt_s`. age_s: how old the plan is now."""
    here, left = path.nearest(s.x, s.y)
    wanted_m, wanted_mps, _ = path.reference(age_s)
    *_, wanted_mps2 = path.reference(age_s + dt_s)
    jerk = -float(along_gain(dt_s) @ (here - wanted_m, s.speed - wanted_mps, s.accel - wanted_mps2))
    speed = max(round(s.speed / _SPEED_STEP_MPS) * _SPEED_STEP_MPS, SLOWEST_MPS)
    steer = bicycle.steer_for(path.curvature_at(here + s.speed * dt_s))
    course = (s.yaw + bicycle.slip(s.steer) - path.course_at(here) + math.pi) % (2 * math.pi) - math.pi
    error = (left, course, s.steer - steer)
    rate = -float(across_gain(speed, round(bicycle.wheelbase_m, 2), dt_s) @ error) if s.speed > 0.2 else 0.0
    return bicycle.actuate(s, jerk, rate, dt_s)
