"""`control_msgs/action/FollowJointTrajectory`, as arms are told to move by every ROS planner: setpoints in time, with tolerances.

    joint_states    sensor_msgs/JointState            in: where the joints are; without it nothing is known of errors
    joint_command   trajectory_msgs/JointTrajectory   out: one setpoint at a time

A trajectory whose stamp is 0 starts now. What cannot be followed is not taken; a joint out of tolerance, a cancel, and a newer
goal make the arm hold where it is.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError
from robotics.action import standard
from robotics.action.executive import Ended, Failed, Run, Stopped, now_ns
from robotics.action.jobs.trajectory import JointTrajectory, Sample, read
from robotics.action.messages import Message, empty
from robotics.action.topics import Board

F64 = NDArray[np.float64]
KIND = "control_msgs/action/FollowJointTrajectory"
SUCCESSFUL, INVALID_GOAL, INVALID_JOINTS, OLD_HEADER_TIMESTAMP, PATH_TOLERANCE_VIOLATED, GOAL_TOLERANCE_VIOLATED = range(0, -6, -1)
GOAL_TIME_S = 1.0
"""What joints have to come within tolerance after the last point, where the goal does not say."""
FEEDBACK_S = 0.05
"""From one feedback to the next: controllers have 20 Hz."""


class Follow:
    """A `Job`. joints: by name; hz: setpoints a second; sim_time: stamps are a simulator's, so every trajectory starts now."""

    kind = KIND

    def __init__(self, joints: Sequence[str], board: Board, *, name: str = "", hz: float = 100.0, sim_time: bool = False) -> None:
        self.joints, self._period_s, self._sim_time = list(joints), 1 / hz, sim_time
        self.states, self.commands = f"{name}/joint_states", f"{name}/joint_command"
        board.declare(self.states, standard.STATE)
        board.declare(self.commands, standard.TRAJECTORY)
        self.inputs, self.outputs = [self.states], [self.commands]

    def refusal(self, goal: Message) -> str | None:
        if goal["multi_dof_trajectory"]["points"] or goal["component_path_tolerance"] or goal["component_goal_tolerance"]:
            return "multi_dof_trajectory: is not followed here; send joints of one degree of freedom"
        try:
            trajectory = read(goal["trajectory"], self.joints)
            self._tolerances(goal["path_tolerance"])
            self._tolerances(goal["goal_tolerance"])
        except InputError as e:
            return str(e)
        if self._late_s(goal) > trajectory.end_s:
            return "header.stamp: the whole trajectory lies in the past; send 0 for now"
        return None

    def run(self, goal: Message, here: Run) -> Generator[Message, None, Message]:
        trajectory = self._from_here(read(goal["trajectory"], self.joints), here.board)
        path, end = self._tolerances(goal["path_tolerance"]), self._tolerances(goal["goal_tolerance"])
        patience_s = standard.ns_of(goal["goal_time_tolerance"]) / 1e9 or GOAL_TIME_S
        begin = time.monotonic() - max(self._late_s(goal), 0.0)
        told = float("-inf")
        try:
            while True:
                here.check()
                t = time.monotonic() - begin
                desired, actual = trajectory.at(t), self._actual(here.board)
                self._command(here.board, desired.position)
                error = None if actual is None else desired.position - actual
                if time.monotonic() - told >= FEEDBACK_S or t >= trajectory.end_s:
                    told = time.monotonic()
                    yield self._feedback(desired, actual)
                if t < trajectory.end_s:
                    if (wrong := self._beyond(error, path)) is not None:
                        raise self._failed(here.board, PATH_TOLERANCE_VIOLATED, wrong)
                elif (wrong := self._beyond(error, end)) is None:
                    return _result(SUCCESSFUL, "")
                elif t >= trajectory.end_s + patience_s:
                    raise self._failed(here.board, GOAL_TOLERANCE_VIOLATED, wrong)
                here.pause(self._period_s)
        except Stopped as e:
            self._hold(here.board)
            raise Ended(_result(SUCCESSFUL, e.why)) from None

    def _late_s(self, goal: Message) -> float:
        stamp = standard.stamp_of(goal["trajectory"])
        return 0.0 if self._sim_time or stamp == 0 else (now_ns() - stamp) / 1e9

    def _from_here(self, trajectory: JointTrajectory, board: Board) -> JointTrajectory:
        """From where the joints are, at rest, if the first point is due later."""
        actual = self._actual(board)
        if actual is None or trajectory.times[0] <= 0:
            return trajectory

        def before(rows: F64 | None, row: F64) -> F64 | None:
            return None if rows is None else np.vstack([row, rows])

        rest = np.zeros(len(self.joints))
        positions = np.vstack([actual, trajectory.positions])
        return JointTrajectory(
            np.concatenate([[0.0], trajectory.times]),
            positions,
            before(trajectory.velocities, rest),
            before(trajectory.accelerations, rest),
        )

    def _tolerances(self, rows: Sequence[Message]) -> F64:
        """[J], of positions; infinite where nothing, or -1, is said, as in control_msgs."""
        out = np.full(len(self.joints), np.inf)
        for row in rows:
            if row["name"] not in self.joints:
                raise InputError(f"tolerance of {row['name'][:40]!r}: the joints are {', '.join(self.joints)}")
            if row["position"] > 0:
                out[self.joints.index(row["name"])] = row["position"]
        return out

    def _beyond(self, error: F64 | None, tolerance: F64) -> str | None:
        if error is None or not (over := np.abs(error) > tolerance).any():
            return None
        j = int(over.argmax())
        return f"{self.joints[j]}: off by {error[j]:.4g}, allowed {tolerance[j]:.4g}"

    def _actual(self, board: Board) -> F64 | None:
        newest = board.newest(self.states)
        if newest is None:
            return None
        names, positions = newest.message["name"], newest.message["position"]
        if len(names) != len(positions) or any(j not in names for j in self.joints):
            return None
        return np.array([positions[names.index(j)] for j in self.joints], dtype=np.float64)

    def _command(self, board: Board, position: F64) -> None:
        board.put(self.commands, standard.joint_trajectory(position[None], now_ns(), round(self._period_s * 1e9), self.joints))

    def _hold(self, board: Board) -> None:
        newest = board.newest(self.commands)
        actual = self._actual(board)
        if actual is None and newest is not None:
            actual = newest.message["points"][0]["positions"]
        if actual is not None:
            self._command(board, actual)

    def _failed(self, board: Board, code: int, why: str) -> Failed:
        self._hold(board)
        return Failed(_result(code, why))

    def _feedback(self, desired: Sample, actual: F64 | None) -> Message:
        def point(position: Any, velocity: Any = ()) -> Message:
            return empty(standard.POINT) | {"positions": np.array(position), "velocities": np.array(velocity, dtype=np.float64)}

        out = empty(f"{KIND}_Feedback") | {"header": standard.header(now_ns()), "joint_names": self.joints}
        out["desired"] = point(desired.position, desired.velocity)
        if actual is not None:
            out |= {"actual": point(actual), "error": point(desired.position - actual)}
        return out


def _result(code: int, text: str) -> Message:
    return empty(f"{KIND}_Result") | {"error_code": code, "error_string": text}
