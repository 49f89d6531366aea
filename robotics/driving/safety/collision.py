"""Overlap of the ego's rectangle with given boxes that go on as they are.

It is a filter of plans that run into what is known, and no promise of safety: boxes are what a perception stack says they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotics.driving.safety.checks import Check
from robotics.driving.safety.profile import VehicleProfile
from robotics.driving.safety.trajectory import TIMES_S, Trajectory

F64 = NDArray[np.float64]

LATE_S = 99.0
"""Time of contact of a plan that meets nobody."""


def collision(trajectory: Trajectory, boxes: F64, profile: VehicleProfile) -> list[Check]:
    """Time of the first contact for which the ego is to blame, which must not come within the plan.

    boxes: [N, 6], columns x m, y m (centre, ego frame), yaw rad, length m, width m, v m/s along the yaw.
    """
    if not len(boxes):
        return []
    at = contact_s(trajectory, boxes, profile)
    return [Check.at_least("time_to_collision", at, float(TIMES_S[-1]) + 0.1)]


def contact_s(trajectory: Trajectory, boxes: F64, profile: VehicleProfile) -> float:
    """Seconds to the first contact, LATE_S if there is none. A box that first touches from behind the rear bumper is not
    counted: the ego would be hit for braking (at-fault rule of NAVSIM)."""
    yaw = trajectory.yaw
    forward = np.stack([np.cos(yaw), np.sin(yaw)], axis=1)  # [51, 2]
    middle = trajectory.xy + forward * (profile.length_m / 2 - profile.rear_overhang_m)
    heading = np.stack([np.cos(boxes[:, 2]), np.sin(boxes[:, 2])], axis=1)  # [N, 2]
    moving = boxes[None, :, :2] + TIMES_S[:, None, None] * (boxes[:, 5, None] * heading)[None]  # [51, N, 2]
    ego = np.array([profile.length_m, profile.width_m]) / 2 + profile.collision_margin_m
    meet = overlap(moving - middle[:, None], forward[:, None], heading[None], ego, boxes[None, :, 3:5] / 2)
    behind = ((moving - middle[:, None]) * forward[:, None]).sum(-1) < -profile.length_m / 2
    first = meet.argmax(axis=0)  # [N]
    each = np.arange(len(boxes))
    blamed = meet[first, each] & ~behind[first, each]
    return float(TIMES_S[first[blamed].min()]) if blamed.any() else LATE_S


def overlap(offset: F64, forward: F64, heading: F64, ego: F64, other: F64) -> NDArray[np.bool_]:
    """Whether rectangles overlap, by the separating axis theorem (Gottschalk et al. 1996). offset [..., 2]: from the ego's centre
    to the other's; forward, heading [..., 2]: unit vectors; ego [2], other [..., 2]: half length and half width."""
    left, port = _left(forward), _left(heading)
    out = np.ones(np.broadcast_shapes(offset.shape, forward.shape, heading.shape)[:-1], dtype=bool)
    for axis in (forward, left, heading, port):
        reach = ego[0] * np.abs((forward * axis).sum(-1)) + ego[1] * np.abs((left * axis).sum(-1))
        theirs = other[..., 0] * np.abs((heading * axis).sum(-1)) + other[..., 1] * np.abs((port * axis).sum(-1))
        out &= np.abs((offset * axis).sum(-1)) <= reach + theirs
    return out


def _left(vector: F64) -> F64:
    return np.stack([-vector[..., 1], vector[..., 0]], axis=-1)
