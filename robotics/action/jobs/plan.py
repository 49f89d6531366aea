"""`edge_msgs/action/Plan`: the driving planner plans what its cameras show, once or over and over.

    camera/front_left/image, camera/front/image, camera/front_right/image   sensor_msgs/Image    in
    odometry                                                                nav_msgs/Odometry    in: from 2 s before the first
    goal on command                                                                 std_msgs/String      in: the route hint, if
    the goal has none plan                                                                    nav_msgs/Path        out: every
    plan, with its pictures' stamp

Every plan went through the safety chain of the planner service and is there by its deadline. The newest pictures of one moment
count.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from edge.core.errors import EdgeError
from robotics.action import standard
from robotics.action.executive import Ended, Failed, Run, Stopped
from robotics.action.messages import Message, empty
from robotics.action.odometry import Odometer
from robotics.action.topics import Board
from robotics.driving.prompt import Command
from robotics.driving.safety.profile import VehicleProfile
from robotics.driving.safety.trajectory import DT_S
from robotics.driving.scene import CAMERAS
from robotics.driving.service.request import PlanRequest
from robotics.driving.service.response import PlanResponse
from robotics.driving.service.service import PlannerService

RESULT, FEEDBACK = "edge_msgs/action/Plan_Result", "edge_msgs/action/Plan_Feedback"
SKEW_S = 0.05
"""How far apart in time the three pictures may be."""
SILENCE_S = 5.0
MOST_ROLLOUTS = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """What a plan is made of, not yet decoded. when: monotonic seconds, of the last picture's arrival."""

    images: tuple[Message, ...]
    command: str
    stamp_ns: int
    when: float


class Plan:
    """A `Job`. strategy, options: of every plan; sim_time: stamps are a simulator's, and say
    nothing of how old pictures are."""

    kind = "edge_msgs/action/Plan"

    def __init__(
        self,
        service: PlannerService,
        board: Board,
        *,
        name: str = "",
        strategy: str = "fused",
        options: dict[str, Any] | None = None,
        profile: VehicleProfile | None = None,
        sim_time: bool = False,
        skew_s: float = SKEW_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._service, self._strategy, self._options = service, strategy, options or {}
        profile = profile or VehicleProfile()
        self._profile = profile.model_copy(update={"input_age_ms": None}) if sim_time else profile
        self._skew_ns, self._silence_s = int(skew_s * 1e9), silence_s
        self.cameras = [f"{name}/camera/{c}/image" for c in CAMERAS]
        self.odometry, self.command, self.plan = f"{name}/odometry", f"{name}/nav_command", f"{name}/plan"
        for camera in self.cameras:
            board.declare(camera, standard.IMAGE)
        board.declare(self.odometry, standard.ODOMETRY)
        board.declare(self.command, standard.TEXT)
        board.declare(self.plan, standard.PATH)
        self.inputs, self.outputs = [*self.cameras, self.odometry, self.command], [self.plan]
        self._odometer = Odometer()
        board.listen(self.odometry, lambda _, message: self._odometer.note(message))

    def refusal(self, goal: Message) -> str | None:
        if goal["command"] and goal["command"] not in get_args(Command):
            return f"command {ascii(goal['command'])[:40]}: must be one of {', '.join(get_args(Command))}, or empty"
        if not 0 <= goal["deadline_ms"] <= 1e9 or not 0 <= goal["period_s"] <= 1e6:
            return "deadline_ms and period_s: must not be less than 0, nor NaN"
        if goal["rollouts"] > MOST_ROLLOUTS or goal["seed"] >= 1 << 62:
            return f"rollouts {goal['rollouts']}, seed {goal['seed']}: at most {MOST_ROLLOUTS}, and less than 2^62"
        return None

    def run(self, goal: Message, here: Run) -> Generator[Message, None, Message]:
        made, last, after, due = 0, None, -1, 0.0
        try:
            while not goal["plans"] or made < goal["plans"]:
                here.pause(due - time.monotonic())
                seen = here.wait(self.inputs, lambda after=after: self._news(here.board, goal, after), self._silence_s)
                if seen is None:
                    raise Failed(_result(last, made, after) | {"message": self._missing(here.board, goal)})
                after, due = seen.stamp_ns, time.monotonic() + goal["period_s"]
                yield self._feedback(goal, seen, made, "planning", last, 0.0)
                last = self._service.plan(self._request(goal, seen))
                made += 1
                here.board.put(self.plan, _path(last, seen.stamp_ns))
                yield self._feedback(goal, seen, made, "planned", last, 1000 * (time.monotonic() - seen.when))
                here.check()
        except Stopped as e:
            raise Ended(_result(last, made, after) | {"message": e.why}) from None
        except EdgeError as e:  # pictures or odometry that cannot be planned on
            raise Failed(_result(last, made, after) | {"message": str(e)}) from None
        return _result(last, made, after)

    def _request(self, goal: Message, seen: Seen) -> PlanRequest:
        left = max(0.0, goal["deadline_ms"] - 1000 * (time.monotonic() - seen.when)) if goal["deadline_ms"] else None
        return PlanRequest(
            images=tuple(standard.picture(image) for image in seen.images),
            nav_command=seen.command,  # type: ignore[arg-type]
            history=self._odometer.history(seen.stamp_ns),
            deadline_ms=left,
            n_rollouts=max(1, goal["rollouts"]),
            seed=goal["seed"],
            strategy=self._strategy,
            options=self._options,
            sensor_stamp_ns=seen.stamp_ns,
            vehicle_profile=self._profile,
        )

    def _news(self, board: Board, goal: Message, after: int) -> Seen | None:
        """The newest pictures of one moment that is later than `after`, with what else a plan needs."""
        arrivals = [board.newest(c) for c in self.cameras]
        if any(a is None for a in arrivals):
            return None
        found = [a for a in arrivals if a is not None]
        stamps = [standard.stamp_of(a.message) for a in found]
        stamp = max(stamps)
        if stamp == after or stamp - min(stamps) > self._skew_ns:
            return None
        command = goal["command"] or self._commanded(board)
        if not command or not self._odometer.reaches(stamp):
            return None
        return Seen(tuple(a.message for a in found), command, stamp, max(a.when for a in found))

    def _commanded(self, board: Board) -> str:
        newest = board.newest(self.command)
        said = "" if newest is None else newest.message["data"]
        return said if said in get_args(Command) else ""

    def _missing(self, board: Board, goal: Message) -> str:
        for camera in self.cameras:
            if board.newest(camera) is None:
                return f"{camera}: nothing came for {self._silence_s:g} s"
        if not goal["command"] and not self._commanded(board):
            return f"{self.command}: says none of {', '.join(get_args(Command))}"
        if board.newest(self.odometry) is None:
            return f"{self.odometry}: nothing came for {self._silence_s:g} s"
        return f"no new pictures within {self._skew_ns / 1e6:g} ms of each other, with odometry, for {self._silence_s:g} s"

    def _feedback(self, goal: Message, seen: Seen, made: int, stage: str, last: PlanResponse | None, ms: float) -> Message:
        return empty(FEEDBACK) | {
            "stamp": standard.time_of(seen.stamp_ns),
            "stage": stage,
            "plans": made,
            "progress": made / goal["plans"] if goal["plans"] else 0.0,
            "latency_ms": ms,
            "budget": "" if last is None else _budget(last),
            "status": "" if last is None else last.status,
        }


def _budget(plan: PlanResponse) -> str:
    left_out = f", without {', '.join(plan.skipped_sections)}" if plan.skipped_sections else ""
    return f"{plan.strategy}, {plan.forwards} forwards{left_out}"


def _path(plan: PlanResponse, stamp_ns: int) -> Message:
    rows = np.array([(p.x, p.y, p.yaw) for p in plan.trajectory.points])
    return standard.path(rows, stamp_ns, round(DT_S * 1e9))


def _result(last: PlanResponse | None, made: int, stamp_ns: int) -> Message:
    out = empty(RESULT) | {"plans": made}
    if last is None:
        return out
    return out | {
        "status": last.status,
        "reason_codes": list(last.reason_codes),
        "path": _path(last, max(stamp_ns, 0)),
        "speeds_mps": np.array([p.v for p in last.trajectory.points]),
        "plan": last.model_dump_json(by_alias=True),
    }
