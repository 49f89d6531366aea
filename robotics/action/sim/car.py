"""A vehicle of the closed loop whose planner is an action server, or, for comparison, the library."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotics.action import standard
from robotics.action.jobs.plan import Plan
from robotics.action.messages import empty
from robotics.action.sim.link import Link
from robotics.driving.closed_loop.seen import Seen
from robotics.driving.coding import WAYPOINT_TIMES_S
from robotics.driving.planner import Planner
from robotics.driving.safety.profile import VehicleProfile
from robotics.driving.safety.trajectory import DT_S
from robotics.driving.scene import CAMERAS, HISTORY_STEPS
from robotics.driving.service.request import PlanRequest
from robotics.driving.service.service import PlannerService

F64 = NDArray[np.float64]
EPISODE_NS = 1_000_000_000_000
TIMELESS = VehicleProfile(input_age_ms=None)
"""A simulator's stamps are no time of day."""


class Asking:
    """A `Drives` that asks the service of this process: what the library does."""

    name, identity = "library", ""

    def __init__(self, service: PlannerService, planner: Planner, strategy: str = "fused") -> None:
        self._service, self._size, self._strategy = service, planner.config.image_size, strategy
        self._clock = Clock()
        self.statuses: list[str] = []

    def waypoints(self, seen: Seen) -> F64 | None:
        request = PlanRequest(
            images=tuple(seen.images(self._size)),
            nav_command=seen.command(),
            history=seen.history(),
            strategy=self._strategy,
            sensor_stamp_ns=self._clock.stamp(seen),
            vehicle_profile=TIMELESS,
        )
        answer = self._service.plan(request)
        self.statuses.append(answer.status)
        return _waypoints(answer.model_dump(mode="json", by_alias=True))


class Sending:
    """A `Drives` that sends goals: it publishes its odometry and its cameras' pictures and follows the plan of the result."""

    name, identity = "action service", ""

    def __init__(self, link: Link, planner: Planner, action: str = "/plan_drive", name: str = "") -> None:
        self._link, self._size, self._action, self._name = link, planner.config.image_size, action, name
        self._clock = Clock()
        self._told = -1
        self.statuses: list[str] = []
        self.latencies_ms: list[float] = []

    def waypoints(self, seen: Seen) -> F64 | None:
        stamp = self._clock.stamp(seen)
        self._odometry(seen, stamp)
        for camera, picture in zip(CAMERAS, seen.images(self._size), strict=True):
            self._link.publish(f"{self._name}/camera/{camera}/image", standard.IMAGE, standard.image(picture, stamp, camera))
        self._link.publish(f"{self._name}/nav_command", standard.TEXT, {"data": seen.command()})
        sent = self._link.send(self._action, Plan.kind, empty(f"{Plan.kind}_Goal") | {"plans": 1})
        _, result = sent.result()
        self.statuses.append(result["status"])
        self.latencies_ms += [f["latency_ms"] for f in sent.feedback if f["stage"] == "planned"]
        return _waypoints(json.loads(result["plan"])) if result["plan"] else None

    def _odometry(self, seen: Seen, stamp: int) -> None:
        """Of every step since the last one, two seconds of them at first."""
        ego = seen.scene.tracks[seen.track_id]
        step_ns = round(seen.scene.dt_s * 1e9)
        for step in range(seen.step - HISTORY_STEPS, seen.step + 1):
            at = stamp - (seen.step - step) * step_ns
            if at > self._told:
                x, y, yaw, speed = ego.state(step)
                self._link.publish(f"{self._name}/odometry", standard.ODOMETRY, standard.odometry(x, y, yaw, speed, 0.0, at))
        self._told = stamp


class Clock:
    """Stamps of episodes one after the other, each later than all before."""

    def __init__(self) -> None:
        self._episode, self._last, self._log = 0, -1, None

    def stamp(self, seen: Seen) -> int:
        if seen.log is not self._log or seen.step <= self._last:
            self._episode, self._log = self._episode + 1, seen.log
        self._last = seen.step
        return self._episode * EPISODE_NS + round(seen.step * seen.scene.dt_s * 1e9)


def _waypoints(plan: dict[str, Any]) -> F64:
    """[5, 2] m of the trajectory that may be driven."""
    points = plan["trajectory"]["points"]
    return np.array([(points[round(t / DT_S)]["x"], points[round(t / DT_S)]["y"]) for t in WAYPOINT_TIMES_S])
