"""Whether a vehicle can drive a dense trajectory, and whether anyone would want to sit in it.

Every quantity is taken twice, from the columns and from differences of the positions, and the worse of the two counts: a trajectory
whose columns flatter its positions does not pass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotics.driving.safety.checks import Check
from robotics.driving.safety.profile import VehicleProfile
from robotics.driving.safety.trajectory import DT_S, Trajectory, steps

F64 = NDArray[np.float64]

LEAST_STEP_M = 0.02
"""Shorter steps tell no direction."""
STOP_MARGIN_M = 2.0
SLOPE = np.array([2.0, 1.0, 0.0, -1.0, -2.0]) / (10 * DT_S)
"""Least-squares slope over 0.4 s (Savitzky-Golay of first order): a single step of 0.1 s is no jerk that anybody feels, and nuPlan
smooths as well. Flipped, as a convolution wants it."""


def kinematics(trajectory: Trajectory, profile: VehicleProfile) -> list[Check]:
    """Hard limits first, then comfort. Source of every limit: `VehicleProfile`."""
    return hard(trajectory, profile) + comfort(trajectory, profile)


def hard(t: Trajectory, profile: VehicleProfile) -> list[Check]:
    limits, v0 = profile.hard, float(t.v[0])
    chords = t.steps_m()
    between, turns = chords / DT_S, _turns(t, chords)
    speed, bend = np.concatenate([t.v, between]), np.concatenate([t.kappa, turns])
    accel = np.concatenate([t.a, steps(t.v) / DT_S, steps(between) / DT_S])
    lateral = max(float((t.v**2 * np.abs(t.kappa)).max()), float((between**2 * np.abs(turns)).max()))
    steer = np.arctan(profile.wheelbase_m * t.kappa)
    return [
        Check.at_least("speed_min", float(t.v.min()), 0.0),
        Check.at_most("speed", float(speed.max()), max(limits.speed_mps, v0)),
        Check.at_least("accel_min", float(accel.min()), limits.accel_min_mps2),
        Check.at_most("accel_max", float(accel.max()), limits.accel_max_mps2),
        Check.at_most("curvature", float(np.abs(bend).max()), profile.curvature_per_m),
        Check.at_most("lateral_accel", lateral, profile.lateral_accel_mps2),
        Check.at_most("steer_rate", float(np.abs(steps(steer)).max()) / DT_S, limits.steer_rate_radps),
        Check.at_most("yaw_step", float(np.abs(steps(t.yaw)).max()), limits.yaw_step_rad),
    ]


def comfort(t: Trajectory, profile: VehicleProfile) -> list[Check]:
    """nuPlan's comfort metrics and Autoware's lateral jerk and forward length. None of these is critical."""
    limits, v0 = profile.comfort, float(t.v[0])
    lateral, yaw_rate = t.v**2 * t.kappa, t.v * t.kappa
    along = np.convolve(t.a, SLOPE, "valid")
    # v^3 dkappa/ds + 3 v a kappa, with v dkappa/ds = dkappa/dt
    across = (t.v**2)[2:-2] * np.convolve(t.kappa, SLOPE, "valid") + (3 * t.v * t.a * t.kappa)[2:-2]
    needed = v0**2 / (2 * limits.stopping_decel_mps2) - STOP_MARGIN_M
    found = {
        "comfort_accel_max": (float(t.a.max()), limits.accel_max_mps2),
        "comfort_lateral_accel": (float(np.abs(lateral).max()), limits.lateral_accel_mps2),
        "comfort_jerk": (float(np.hypot(along, across).max()), limits.jerk_mps3),
        "comfort_longitudinal_jerk": (float(np.abs(along).max()), limits.longitudinal_jerk_mps3),
        "comfort_lateral_jerk": (float(np.abs(across).max()), limits.lateral_jerk_mps3),
        "comfort_yaw_rate": (float(np.abs(yaw_rate).max()), limits.yaw_rate_radps),
        "comfort_yaw_accel": (float(np.abs(np.convolve(yaw_rate, SLOPE, "valid")).max()), limits.yaw_accel_radps2),
    }
    out = [Check.at_least("comfort_accel_min", float(t.a.min()), limits.accel_min_mps2, critical=False)]
    out += [Check.at_most(name, value, limit, critical=False) for name, (value, limit) in found.items()]
    return [*out, Check.at_least("forward_length", t.length_m, max(needed, 0.0), critical=False)]


def _turns(t: Trajectory, chords: F64) -> F64:
    """Mean curvature between points, [50] 1/m; 0 where the vehicle stands. chords: from each point to the next, m."""
    turned = steps(t.yaw)
    arcs = chords / np.maximum(np.sinc(np.clip(turned / 2, -3, 3) / np.pi), 1e-3)
    return np.where(chords > LEAST_STEP_M, turned / np.maximum(arcs, LEAST_STEP_M), 0.0)
