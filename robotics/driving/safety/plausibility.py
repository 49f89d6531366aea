"""Whether five waypoints can be a vehicle's way at all: before a path is laid through them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotics.driving.safety.checks import Check
from robotics.driving.safety.profile import VehicleProfile
from robotics.driving.safety.resample import Route

F64 = NDArray[np.float64]

EPSILON_M = 0.5
"""What the first waypoint may miss the reachable by: noise of speed and of coordinates."""
STEP_MARGIN_M = 1.0
BACKWARD_M = 0.5
"""Waypoints of a standing vehicle may fall back by this; more is driving backwards."""
STANDING_MPS = 1.0
STANDING_M = 0.1


def plausibility(waypoints: F64, found: Route, speed_mps: float, profile: VehicleProfile) -> list[Check]:
    """waypoints: [5, 2] m at 1..5 s, finite; found: their route. Reachability |s(1 s) - v0| <= a / 2 + epsilon."""
    limits = profile.hard
    steps = np.hypot(*np.diff(np.concatenate([np.zeros((1, 2)), waypoints]), axis=0).T)
    most = max(limits.speed_mps, speed_mps) + STEP_MARGIN_M
    moved = float(np.abs(waypoints).max()) > STANDING_M or speed_mps < STANDING_MPS
    aside = profile.lateral_accel_mps2 / 2 + EPSILON_M
    gained = float(steps[0]) - speed_mps
    return [
        Check.at_most("step", float(steps.max()), most),
        Check.that("moves", moved),
        Check.at_least("forward", found.backward_m, -BACKWARD_M),
        Check.at_least("first_second_min", gained, max(limits.accel_min_mps2 / 2, -speed_mps) - EPSILON_M),
        Check.at_most("first_second_max", gained, limits.accel_max_mps2 / 2 + EPSILON_M),
        Check.at_most("first_second_aside", abs(float(waypoints[0, 1])), aside),
    ]
