"""Stops that can be driven from any motion: what takes a plan's place. Within the hard limits by construction.

Constant velocity is not among them: going on blindly for five seconds meets traffic in about half of recorded scenes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotics.driving.safety.ego import Ego
from robotics.driving.safety.profile import Brake, VehicleProfile
from robotics.driving.safety.trajectory import DT_S, POINTS, Trajectory

F64 = NDArray[np.float64]


def braking_speeds(ego: Ego, brake: Brake, profile: VehicleProfile) -> tuple[F64, F64, F64]:
    """Progress m, speed m/s and acceleration m/s2 at the 51 times. Acceleration is linear between times; the accelerator is
    released at once, and a brake that is pressed harder than this stop needs is eased at the comfortable jerk."""
    target, now = -brake.decel_mps2, min(max(ego.a_mps2, profile.hard.accel_min_mps2 * 0.99), 0.0)
    build, ease = brake.jerk_mps3 * DT_S, profile.comfort.longitudinal_jerk_mps3 * DT_S
    s, v, a = [0.0] * POINTS, [0.0] * POINTS, [0.0] * POINTS  # lists: single values of arrays are slow to reach
    v[0], a[0] = max(ego.v_mps, 0.0), now if ego.v_mps > 0 else 0.0
    for k in range(1, POINTS):
        step = target - a[k - 1]
        following = a[k - 1] + min(max(step, -build), ease)
        mean = (a[k - 1] + following) / 2
        v[k] = v[k - 1] + mean * DT_S
        if v[k] <= 0:
            # stands from here on; the last bit of way is that of a constant deceleration
            v[k] = 0.0
            s[k:] = [s[k - 1] + v[k - 1] * DT_S / 2] * (POINTS - k)
            break
        a[k] = following
        s[k] = s[k - 1] + (v[k - 1] + v[k]) / 2 * DT_S
    return np.array(s), np.array(v), np.array(a)


def arc_stop(ego: Ego, brake: Brake, profile: VehicleProfile) -> Trajectory:
    """A stop along the present curvature."""
    s, v, a = braking_speeds(ego, brake, profile)
    kappa = ego.curvature(profile)
    yaw = kappa * s
    # sin(yaw) / kappa and (1 - cos(yaw)) / kappa, also for kappa 0
    x, y = s * np.sinc(yaw / np.pi), s * np.sin(yaw / 2) * np.sinc(yaw / 2 / np.pi)
    return Trajectory.of(x, y, yaw, v, a, np.full(POINTS, kappa))


def path_stop(ego: Ego, brake: Brake, profile: VehicleProfile, path: Trajectory) -> Trajectory:
    """A stop along a path that was found drivable, straight on where it ends. It still has to be checked: braking later than the
    path's own plan may take a bend too fast."""
    s, v, a = braking_speeds(ego, brake, profile)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path.xy, axis=0).T))])
    keep = np.concatenate([[True], np.diff(along) > 1e-3])
    x, y, yaw, kappa = (np.interp(s, along[keep], c[keep]) for c in (path.x, path.y, path.yaw, path.kappa))
    beyond = np.maximum(s - along[-1], 0.0)
    x, y = x + beyond * np.cos(path.yaw[-1]), y + beyond * np.sin(path.yaw[-1])
    return Trajectory.of(x, y, yaw, v, a, np.where(beyond > 0, 0.0, kappa))
