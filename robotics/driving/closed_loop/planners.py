"""Who plans in the loop: the model, and what it is compared with. All say the same: five waypoints, 1 s apart, ego frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError
from robotics.driving.baselines import constant_velocity
from robotics.driving.closed_loop.seen import Seen
from robotics.driving.coding import WAYPOINT_TIMES_S
from robotics.driving.planner import Planner
from robotics.driving.scene import to_ego

F64 = NDArray[np.float64]

STOP_MPS2 = 4.0
"""An in-lane stop brakes with up to 4 m/s2."""


class Drives(Protocol):
    """A planner in the loop. `name` goes into results, `identity` tells apart two that share it (the weights of a model)."""

    name: str
    identity: str

    def waypoints(self, seen: Seen) -> F64 | None:
        """[5, 2] m in the ego frame of `seen`; None where the planner has no valid answer: the plan before stays in use."""
        ...


class Stop:
    """Brakes straight ahead to a standstill."""

    name, identity = "stop", f"{STOP_MPS2} m/s2"

    def waypoints(self, seen: Seen) -> F64:
        v = seen.state.speed
        t = np.minimum(WAYPOINT_TIMES_S, v / STOP_MPS2)
        return np.stack([v * t - STOP_MPS2 * t**2 / 2, np.zeros(t.size)], axis=1)


class ConstantVelocity:
    """Straight on at the mean velocity of the last 0.5 s."""

    name, identity = "constant velocity", ""

    def waypoints(self, seen: Seen) -> F64:
        return constant_velocity(seen.history().velocity_mps(), WAYPOINT_TIMES_S)


class Oracle:
    """Knows what the driver of the log did next. What it loses is lost by five waypoints, the tracker and the vehicle."""

    name, identity = "oracle", ""

    def waypoints(self, seen: Seen) -> F64:
        steps = seen.step - seen.log.first + np.round(WAYPOINT_TIMES_S / seen.scene.dt_s).astype(int)
        s = seen.state
        return to_ego(seen.log.xy[np.minimum(steps, len(seen.log) - 1)], (s.x, s.y, s.yaw)).astype(np.float64)


class Model:
    """A driving checkpoint. Strategies that are lossless give the same plan, so one of them drives for all."""

    def __init__(self, planner: Planner, name: str, identity: str, strategy: str, options: Mapping[str, Any] | None = None) -> None:
        self.planner, self.name, self.identity = planner, name, identity
        self.strategy, self.options = strategy, dict(options or {})

    def waypoints(self, seen: Seen) -> F64 | None:
        images = list(seen.images(self.planner.config.image_size))
        try:
            plan = self.planner.plan(images, seen.history(), seen.command(), strategy=self.strategy, **self.options)
        except InputError:
            return None  # the request is our own, so this is an answer that cannot be read: counted, see `Driven.failed`
        return plan.waypoints
