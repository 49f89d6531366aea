"""Meta-World as a robot: it publishes states and pictures and does one step for every command that answers its newest state."""

from __future__ import annotations

import queue
import time
from typing import Any

import numpy as np

from edge.core.errors import InputError
from robotics.action import standard
from robotics.action.goals import Status
from robotics.action.jobs.act import Act, Robot
from robotics.action.messages import Message, empty
from robotics.action.sim.link import Link, Sent
from robotics.policy.arena.metaworld import Arena
from robotics.policy.config import PolicyConfig
from robotics.policy.rollouts import LIMIT, Outcome
from robotics.policy.senses import Senses
from robotics.policy.types import IMAGE, STATE, WORDS

STEP_NS = 50_000_000
AGAIN_S = 0.1
"""A state that is not answered is published again: nobody may have listened yet."""
EPISODE_NS = 1_000_000_000_000
"""From one episode's stamps to the next one's."""


class Arm:
    """One robot of an action server. config: of the policy there, which says what it has to be shown."""

    def __init__(self, link: Link, config: PolicyConfig, action: str = "/act", robot: Robot | None = None) -> None:
        self._link, self._config, self._action, self._robot = link, config, action, robot or Robot()
        self._commands: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._episodes = 0
        link.subscribe(self._robot.commands, standard.TRAJECTORY, self._commands.put, depth=10)

    def episode(
        self, arena: Arena, seed: int, limit: int = LIMIT, senses: Senses | None = None, hz: float | None = None
    ) -> Outcome:
        """As `rollouts.episode`, by a goal. hz: states a second; None: one as soon as the last one is answered.

        Raises InputError where the goal is not taken, or the server falls silent.
        """
        senses = senses or Senses(arena, self._config)
        self._episodes += 1
        first, seen, done, steps = self._episodes * EPISODE_NS, arena.reset(seed), False, 0
        batch = senses(seen)
        goal = empty(f"{Act.kind}_Goal") | {"max_steps": limit, "seed": seed, "task": batch.get(WORDS) or ""}
        sent = self._link.send(self._action, Act.kind, goal)
        begin = time.monotonic()
        while not done and steps < limit:
            if hz is not None:
                time.sleep(max(0.0, begin + steps / hz - time.monotonic()))
            action = self._ask(sent, batch, first + steps * STEP_NS)
            if action is None:
                break
            seen, done = arena.step(action)
            steps += 1
            batch = senses(seen)
        if done:
            self._link.publish(self._robot.done, standard.FLAG, {"data": True})
        elif not sent.over:
            self._publish(batch, first + steps * STEP_NS)  # the server gives up when it sees that it is not done
        status, result = sent.result()
        latencies = tuple(f["latency_ms"] / 1000 for f in sent.feedback)
        return Outcome(arena.task, seed, status == Status.SUCCEEDED and result["success"], result["steps"], latencies)

    def _ask(self, sent: Sent, batch: dict[str, Any], stamp: int) -> np.ndarray[Any, Any] | None:
        """The action for what is seen now; None where the goal is over."""
        self._publish(batch, stamp)
        while not sent.over:
            try:
                command = self._commands.get(timeout=AGAIN_S)
            except queue.Empty:
                if self._link.complaints:
                    raise InputError(f"the server: {self._link.complaints[-1]}") from None
                self._publish(batch, stamp)
                continue
            if standard.stamp_of(command) == stamp:  # all others answer what was seen before
                return np.asarray(command["points"][0]["positions"], np.float32)
        return None

    def _publish(self, batch: dict[str, Any], stamp: int) -> None:
        if IMAGE in batch:
            self._link.publish(self._robot.images, standard.IMAGE, standard.image(batch[IMAGE], stamp))
        self._link.publish(self._robot.states, standard.STATE, standard.joint_state(batch[STATE][0].numpy(), stamp))
