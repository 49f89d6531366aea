"""From five waypoints to 51 points: where the path lies, and how fast it is driven.

Checks come after this, not before: straight lines between waypoints would have steps of speed at every one of them. Path and
progress are kept apart. The path is a clamped cubic over waypoints that lie far enough apart to tell a direction (a stopped
vehicle's waypoints jitter by centimetres, and their curvature would be nonsense); progress along it is a smooth motion that starts
with the present speed and never runs backwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotics.driving.safety.progress import motion
from robotics.driving.safety.spline import Spline
from robotics.driving.safety.trajectory import Trajectory

F64 = NDArray[np.float64]

KNOT_M = 3.0
"""Waypoints closer than this to the last knot of the path tell progress, and no direction."""
NOISE_M = 0.25
"""What a waypoint of a nearly standing vehicle may lie aside by chance."""


@dataclass(frozen=True, slots=True)
class Route:
    """Waypoints sorted into path and progress. knots: [n + 1] m along the path, places: [n + 1, 2] m; progress: [6] m at 0..5 s;
    backward_m: how far a waypoint lies behind the one before, against the direction of travel (0 or less)."""

    knots: F64
    places: F64
    progress: F64
    backward_m: float


def route(waypoints: F64) -> Route:
    """waypoints: [5, 2] m at 1..5 s, finite."""
    heading, anchor, reached = np.array([1.0, 0.0]), np.zeros(2), 0.0
    knots, places, progress, backward = [0.0], [np.zeros(2)], [0.0], 0.0
    for point in waypoints:
        ahead = point - anchor
        along, far = float(ahead @ heading), float(np.hypot(*ahead))
        backward = min(backward, along + reached - progress[-1])
        if far >= KNOT_M and along > 0:
            reached = max(progress[-1] + 1e-3, reached + far)
            heading, anchor = ahead / far, point
            knots.append(reached)
            places.append(point)
            progress.append(reached)
        else:
            progress.append(max(progress[-1], reached + along))
    if len(knots) == 1:
        end = waypoints[np.argmax(waypoints[:, 0])]
        aside = np.sign(end[1]) * max(abs(float(end[1])) - NOISE_M, 0.0)
        knots.append(max(progress[-1], 1e-3))
        places.append(np.array([max(float(end[0]), 1e-3), aside]))
    return Route(np.array(knots), np.array(places), np.array(progress), backward)


def resample(found: Route, speed_mps: float) -> Trajectory:
    """The dense trajectory of a route that is driven from `speed_mps` on. Its limits are checked elsewhere."""
    path = Spline.through(found.knots, found.places, np.array([1.0, 0.0]))
    s, rate, push = motion(found.progress[1:], speed_mps)
    place, tangent, bend = path(s)
    stretch = np.maximum(np.hypot(*tangent.T), 1e-9)
    yaw = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
    kappa = (tangent[:, 0] * bend[:, 1] - tangent[:, 1] * bend[:, 0]) / stretch**3
    accel = stretch * push + rate**2 * (tangent * bend).sum(axis=1) / stretch
    return Trajectory.of(place[:, 0], place[:, 1], yaw, stretch * rate, accel, kappa)


def deviation_m(trajectory: Trajectory, waypoints: F64) -> float:
    """How far the trajectory passes from a waypoint at its time, at most."""
    return float(np.hypot(*(trajectory.xy[10::10] - waypoints).T).max())
