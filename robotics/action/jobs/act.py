"""`edge_msgs/action/Act`: a policy acts for one robot until the task is done.

    joint_states   sensor_msgs/JointState          in: the state in `position`; every one is answered
    image          sensor_msgs/Image               in, for a policy that sees: its stamp is that of the state, or nearly
    done           std_msgs/Bool                   in: the task is done
    command        trajectory_msgs/JointTrajectory out: one action, with the stamp of the state that it answers

Topics lie below the robot's name. Of states that come while one is worked on the newest is answered, and a command whose stamp is
not that of the newest state the robot sent is stale.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edge.core.errors import InputError
from robotics.action import standard
from robotics.action.executive import Ended, Failed, Run, Stopped
from robotics.action.messages import Message, empty
from robotics.action.realtime import PolicySession
from robotics.action.topics import Arrival, Board
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.types import IMAGE, STATE, WORDS

RESULT, FEEDBACK = "edge_msgs/action/Act_Result", "edge_msgs/action/Act_Feedback"
SKEW_S = 0.05
"""How far apart in time a state and the picture that goes with it may be."""
SILENCE_S = 5.0
"""A robot that tells nothing for so long has gone."""


@dataclass(frozen=True, slots=True)
class Robot:
    """A robot's topics. name: empty, or where they lie below ("/left")."""

    name: str = ""

    @property
    def states(self) -> str:
        return f"{self.name}/joint_states"

    @property
    def images(self) -> str:
        return f"{self.name}/image"

    @property
    def done(self) -> str:
        return f"{self.name}/done"

    @property
    def commands(self) -> str:
        return f"{self.name}/command"

    def declare(self, board: Board) -> None:
        board.declare(self.states, standard.STATE)
        board.declare(self.images, standard.IMAGE)
        board.declare(self.done, standard.FLAG)
        board.declare(self.commands, standard.TRAJECTORY)


class Act:
    """A `Job`. policy: whose form says what is needed; session: makes one for a goal, of a seed; step_s: between two states."""

    kind = "edge_msgs/action/Act"

    def __init__(
        self,
        policy: DiffusionPolicy,
        session: Callable[[torch.Generator], PolicySession],
        robot: Robot,
        *,
        step_s: float = 0.05,
        skew_s: float = SKEW_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._policy, self._session, self.robot = policy, session, robot
        self._step_ns, self._skew_ns, self._silence_s = int(step_s * 1e9), int(skew_s * 1e9), silence_s
        self.inputs, self.outputs = [robot.states, robot.images, robot.done], [robot.commands]
        self._awaited = {robot.states, robot.done} | ({robot.images} if policy.config.sight is not None else set())
        self._names = [f"action_{i}" for i in range(policy.config.denoiser.action_size)]

    def refusal(self, goal: Message) -> str | None:
        if goal["task"] and self._policy.config.sight is None:
            return f"task {ascii(goal['task'])[:40]}: this policy does not read; leave it empty"
        if goal["seed"] >= 1 << 63:
            return f"seed {goal['seed']}: must be less than 2^63"
        return None

    def run(self, goal: Message, here: Run) -> Generator[Message, None, Message]:
        generator = torch.Generator().manual_seed(goal["seed"])
        session = self._session(generator)
        told = {topic: _number(here.board.newest(topic)) for topic in (self.robot.states, self.robot.done)}
        steps, limit, last = 0, goal["max_steps"], 0
        try:
            while True:
                found = here.wait(self._awaited, lambda last=last: self._news(here.board, told, last, session), self._silence_s)
                if found is None:
                    raise Failed(_result(False, steps, self._missing(here.board, told, session)))
                if found == "done":
                    return _result(True, steps, "the task is done")
                if limit and steps >= limit:
                    raise Failed(_result(False, steps, f"not done after {steps} steps"))
                state, picture = found
                told[self.robot.states] = state.number
                batch = self._batch(state.message, picture)
                acted = session.act(batch | ({WORDS: goal["task"]} if goal["task"] else {}))
                steps += 1
                stamp = last = standard.stamp_of(state.message)
                self._command(here.board, acted.action.numpy(), stamp)
                yield empty(FEEDBACK) | {
                    "stamp": standard.time_of(stamp),
                    "step": steps,
                    "progress": steps / limit if limit else 0.0,
                    "latency_ms": 1000 * (time.monotonic() - state.when),
                    "budget": acted.budget,
                    "held": acted.held,
                }
        except Stopped as e:
            self._hold(here.board, session)
            raise Ended(_result(False, steps, e.why)) from None
        except InputError as e:
            self._hold(here.board, session)
            raise Failed(_result(False, steps, str(e))) from None

    def _news(self, board: Board, told: dict[str, int], last: int, session: PolicySession) -> Any:
        done = board.newest(self.robot.done)
        if done is not None and done.number > told[self.robot.done] and done.message["data"]:
            return "done"
        state = board.newest(self.robot.states)
        if state is None or state.number <= told[self.robot.states] or standard.stamp_of(state.message) == last != 0:
            return None  # nothing new, or a state that was published twice
        if self._policy.config.sight is None or not session.due:
            return state, None
        image = board.newest(self.robot.images)
        if image is None or abs(standard.stamp_of(image.message) - standard.stamp_of(state.message)) > self._skew_ns:
            return None
        return state, image.message

    def _batch(self, state: Message, picture: Message | None) -> dict[str, Any]:
        values = torch.from_numpy(np.asarray(state["position"], np.float32).copy())
        size = self._policy.config.denoiser.observation_size
        if len(values) != size:
            raise InputError(f"{self.robot.states}: must hold {size} positions: got {len(values)}")
        batch: dict[str, Any] = {STATE: values[None]}
        return batch if picture is None else batch | {IMAGE: standard.picture(picture)}

    def _missing(self, board: Board, told: dict[str, int], session: PolicySession) -> str:
        state = board.newest(self.robot.states)
        if state is None or state.number <= told[self.robot.states]:
            return f"{self.robot.states}: nothing came for {self._silence_s:g} s; publish the robot's state"
        return f"{self.robot.images}: no picture within {self._skew_ns / 1e6:g} ms of the state; publish it with the state's stamp"

    def _command(self, board: Board, action: np.ndarray[Any, Any], stamp_ns: int) -> None:
        board.put(self.robot.commands, standard.joint_trajectory(action[None], stamp_ns, self._step_ns, self._names))

    def _hold(self, board: Board, session: PolicySession) -> None:
        """The robot is told to stand still, with the stamp of its newest state."""
        state = board.newest(self.robot.states)
        self._command(board, session.holding().numpy(), 0 if state is None else standard.stamp_of(state.message))


def _number(arrival: Arrival | None) -> int:
    return 0 if arrival is None else arrival.number


def _result(success: bool, steps: int, message: str) -> Message:
    return empty(RESULT) | {"success": success, "steps": steps, "message": message}
