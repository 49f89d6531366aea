"""Where a vehicle was in the last seconds, from odometry: what a planner is told of it."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from edge.core.errors import InputError
from robotics.action import standard
from robotics.action.messages import Message
from robotics.driving.prompt import EgoHistory, history_from
from robotics.driving.scene import HISTORY_STEPS, to_ego, wrap

STEP_NS = 100_000_000
SPAN_NS = HISTORY_STEPS * STEP_NS
KEPT_NS = 2 * SPAN_NS
MOST = 4096
"""Poses: 4 s at 1 kHz."""
LATE_NS = STEP_NS
"""A picture may be so much newer than the newest pose, or older than the oldest one of the two seconds before it."""


class Odometer:
    """Poses by their stamps."""

    def __init__(self) -> None:
        self._poses: deque[tuple[int, float, float, float]] = deque(maxlen=MOST)
        self._lock = threading.Lock()

    def note(self, message: Message) -> None:
        """An Odometry. One that is older than the newest is left out; so is one that is not finite."""
        row = (standard.stamp_of(message), *standard.pose_of(message))
        if not np.isfinite(row[1:]).all():
            return
        with self._lock:
            if self._poses and row[0] <= self._poses[-1][0]:
                if self._poses[-1][0] - row[0] < KEPT_NS:
                    return
                self._poses.clear()  # a clock that was set back: what came before means nothing
            self._poses.append(row)
            while row[0] - self._poses[0][0] > KEPT_NS:
                self._poses.popleft()

    def reaches(self, stamp_ns: int) -> bool:
        """Whether a pose is so new."""
        with self._lock:
            return bool(self._poses) and self._poses[-1][0] >= stamp_ns - LATE_NS

    def history(self, stamp_ns: int) -> EgoHistory:
        """The two seconds up to a stamp that poses reach. Raises InputError where the past is not known."""
        with self._lock:
            poses = list(self._poses)
        at = np.array([p[0] - stamp_ns for p in poses], dtype=np.float64)
        if at[0] > LATE_NS - SPAN_NS:
            raise InputError(
                f"odometry: goes back {-at[0] / 1e9:.1f} s before the pictures; publish it for 2 s before the first goal"
            )
        x, y, yaw = np.array([p[1:] for p in poses]).T
        grid = np.arange(-HISTORY_STEPS, 1, dtype=np.float64) * STEP_NS
        x, y, yaw = np.interp(grid, at, x), np.interp(grid, at, y), np.interp(grid, at, np.unwrap(yaw))
        now = (float(x[-1]), float(y[-1]), float(yaw[-1]))
        turned = wrap(yaw.astype(np.float32) - np.float32(now[2]))
        return history_from(to_ego(np.stack([x, y], axis=1), now), turned, STEP_NS / 1e9)
