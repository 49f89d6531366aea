"""A plan as something to follow: a path with its length, and when to be where on it. Scene frame; `K` samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robotics.driving.metrics import dense

F64 = NDArray[np.float64]

HORIZON_S = 5.0
DT_S = 0.1
LEAST_M = 0.4
"""Points of a path lie at least this far apart: the direction between nearer ones is noise."""
BACK_RAD = math.pi / 2
_BEYOND_M = 200.0


@dataclass(frozen=True, slots=True)
class Path:
    """points: [P, 2] m, `along`: [P] m of path up to each, course: [P - 1] rad of each piece; the last piece goes on straight.

    at: [51] m of path, 0.1 s apart from the moment the plan speaks of; it never goes back.
    """

    points: F64
    along: F64
    course: F64
    at: F64

    def reference(self, age_s: float) -> tuple[float, float, float]:
        """(m of path, m/s, m/s2) that the plan wants when it is `age_s` old. Past its horizon it keeps its last speed."""
        k = min(max(age_s, 0.0), HORIZON_S) / DT_S
        i = min(int(k), self.at.size - 2)
        speeds, part = self._speeds(), k - i
        s = (1 - part) * self.at[i] + part * self.at[i + 1]
        v = (1 - part) * speeds[i] + part * speeds[i + 1]
        if age_s >= HORIZON_S:
            return float(s + v * (age_s - HORIZON_S)), float(v), 0.0
        return float(s), float(v), float((speeds[i + 1] - speeds[i]) / DT_S)

    def _speeds(self) -> F64:
        return np.gradient(self.at, DT_S)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """(m of path, m to the left of it) of the point nearest to (x, y)."""
        p, d = self.points[:-1], np.diff(self.points, axis=0)
        t = np.clip(((np.array([x, y]) - p) * d).sum(1) / (d * d).sum(1), 0.0, 1.0)
        off = np.array([x, y]) - p - t[:, None] * d
        k = int(np.hypot(*off.T).argmin())
        left = math.copysign(math.hypot(*off[k]), d[k, 0] * off[k, 1] - d[k, 1] * off[k, 0])
        return float(self.along[k] + t[k] * (self.along[k + 1] - self.along[k])), left

    def course_at(self, s: float) -> float:
        """Direction of travel at `s` m of path, rad, between the middles of its pieces."""
        middle = (self.along[:-1] + self.along[1:]) / 2
        return float(np.interp(s, middle, self.course))

    def curvature_at(self, s: float, over_m: float = 2.0) -> float:
        """1/m, the change of course over `over_m` around `s`."""
        return (self.course_at(s + over_m / 2) - self.course_at(s - over_m / 2)) / over_m


def plan_path(waypoints: ArrayLike, pose: tuple[float, float, float], speed_mps: float, slip: float = 0.0) -> Path:
    """The path of five waypoints [5, 2] m, 1 s apart, in the frame of `pose` (x, y, yaw) of the moment they were planned for.

    Between waypoints runs the spline that leaves with the present velocity: `speed_mps`, `slip` rad left of the heading. Wiggles
    shorter than LEAST_M and ways back are left out: a vehicle that follows drives forwards or waits.
    """
    velocity = speed_mps * np.array([math.cos(slip), math.sin(slip)])
    local = dense(waypoints, velocity, np.linspace(0.0, HORIZON_S, round(HORIZON_S / DT_S) + 1))
    c, s = math.cos(pose[2]), math.sin(pose[2])
    p = local @ np.array([(c, s), (-s, c)]) + pose[:2]
    course = pose[2] + slip
    kept, courses, along, at = [p[0]], [], [0.0], [0.0]
    for q in p[1:]:
        d = q - kept[-1]
        far = math.hypot(*d)
        turn = (math.atan2(d[1], d[0]) - course + math.pi) % (2 * math.pi) - math.pi
        at.append(max(at[-1], along[-1] + far * math.cos(turn)))
        if far >= LEAST_M and abs(turn) < BACK_RAD:
            course += turn
            kept.append(q)
            courses.append(course)
            along.append(along[-1] + far)
            at[-1] = max(at[-2], along[-1])
    kept.append(kept[-1] + _BEYOND_M * np.array([math.cos(course), math.sin(course)]))
    return Path(np.array(kept), np.array([*along, along[-1] + _BEYOND_M]), np.array([*courses, course]), np.array(at))
