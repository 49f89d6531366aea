"""A policy that acts in time: for every observation one action at once, while the next chunk is being made beside it.

A `PolicySession` owns what one robot has seen and done and the chunk it is at. Chunks are made by a `Worker`, which may be another
thread: whoever asks for an action never waits for the policy, unless the worker makes chunks on the spot, which is what the
library's `select_action` does. What a robot does when no action is there in time is a setting, `Underrun`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from edge.core.errors import InputError
from robotics.action.budget import Budget
from robotics.action.chunks import Ask, Chunks, Merge
from robotics.action.latency import Latency
from robotics.policy import guided
from robotics.policy.config import PolicyConfig
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.types import STATE, Queries

Underrun = Literal["hold", "repeat"]
"""hold: motion stops (`PolicySession`'s relative actions are 0), all else stays as it was; repeat: the last action once more."""


class Pending(Protocol):
    """A chunk in the making."""

    def done(self) -> bool: ...

    def result(self) -> Tensor:
        """Raises what making it raised."""
        ...


class Worker(Protocol):
    """Where chunks are made."""

    def submit(self, work: Callable[[], Tensor]) -> Pending: ...


class Ready:
    """A chunk that is there, or what kept it from being made."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._error: Exception | None = None
        try:
            self._chunk = work()
        except Exception as e:
            self._error = e

    def done(self) -> bool:
        return True

    def result(self) -> Tensor:
        if self._error is not None:
            raise self._error
        return self._chunk


class OnTheSpot:
    """Whoever asks for an action makes the chunk: with blocking execution, what the library does. One at a time, whoever asks.

    turn: shared with others who use the same policy.
    """

    def __init__(self, turn: threading.Lock | None = None) -> None:
        self._turn = turn or threading.Lock()

    def submit(self, work: Callable[[], Tensor]) -> Pending:
        with self._turn:
            return Ready(work)


class Beside:
    """One thread makes the chunks of all sessions that share it, one after the other. turn: as of `OnTheSpot`."""

    def __init__(self, turn: threading.Lock | None = None) -> None:
        self._thread, self._turn = ThreadPoolExecutor(1, "chunks"), turn or threading.Lock()

    def submit(self, work: Callable[[], Tensor]) -> Pending:
        def in_turn() -> Tensor:
            with self._turn:
                return work()

        return self._thread.submit(in_turn)

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Execution:
    """How a session executes chunks.

    execute: actions of a chunk after which the next one is asked for; None: as the policy has it. relative: which of the action's
    numbers are motions, that holding sets to 0; None: all but the last, a gripper's. deadline_ms: what a chunk may take, for a
    session that has a `Budget`.
    """

    merge: Merge = "guided"
    underrun: Underrun = "hold"
    execute: int | None = None
    relative: tuple[int, ...] | None = None
    deadline_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Acted:
    """action: [A]; held: there was none in time, see `Underrun`; budget: what the newest chunk was made with."""

    action: Tensor
    held: bool
    budget: str


def _execute(execution: Execution, config: PolicyConfig) -> int:
    most = config.denoiser.horizon - config.denoiser.observation_steps + 1
    if execution.execute is not None and execution.execute > most:
        raise InputError(f"execute {execution.execute}: a chunk of this policy has {most} actions from now on; choose no more")
    return config.execute if execution.execute is None else execution.execute


class PolicySession:
    """One robot's policy.

    policies: the policy with every choice of the budget, in its order, each with its own sampler and cache over the same weights;
    without a budget, one. Their histories stay as they are: a session has its own. generator: of the noise.
    """

    def __init__(
        self,
        policies: Sequence[DiffusionPolicy],
        worker: Worker,
        execution: Execution,
        budget: Budget | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self._worker, self.execution, self._budget = worker, execution, budget
        self._policy = policies[0].session()
        self._policies = [self._policy, *(p.session(self._policy) for p in policies[1:])]
        self._generator = generator
        config = self._policy.config
        self.chunks = Chunks(execution.merge, _execute(execution, config))
        self.steps, self.spent_ms = Latency(), Latency()
        """That chunks took to come, and the milliseconds of making them."""
        size = config.denoiser.action_size
        self._relative = list(execution.relative if execution.relative is not None else range(size - 1))
        self._last = torch.zeros(size)
        self._pending: tuple[Ask, Pending] | None = None
        self.made_with = self._name(0)
        self._making = self.made_with
        self.held = 0
        """Observations that found no action."""

    def act(self, batch: Mapping[str, Any], left_ms: float | None = None) -> Acted:
        """The action for what the robot sees now. batch: of `Policy.select_action`, of one robot, with a picture whenever one is
        `due`; left_ms: what a chunk that is asked for now may take, if not the execution's deadline. Raises InputError for a bad
        observation, and what made a chunk fail, once.
        """
        seen = self._policy.remember(batch[STATE])
        self._land()
        if (ask := self.chunks.due(self.delay)) is not None:
            self._pending = ask, self._worker.submit(self._work(ask, seen, batch, left_ms))
            self._land()
        action = self.chunks.next()
        held = action is None
        if action is None:
            self.held += 1
            action = self.holding() if self.execution.underrun == "hold" else self._last
        self._last = action
        self._policy.did(action[None])
        return Acted(action, held, self.made_with)

    def holding(self) -> Tensor:
        """The action [A] that keeps the robot where it is."""
        out = self._last.clone()
        out[self._relative] = 0
        return out

    @property
    def due(self) -> bool:
        """Whether the next `act` may ask for a chunk, for which a policy that sees needs a picture."""
        return self.execution.merge != "blocking" or not self.chunks.left

    @property
    def delay(self) -> float:
        """Steps that a chunk takes to come, as far as is known."""
        return self.steps.quantile(0.95)

    def _land(self) -> None:
        if self._pending is None or not self._pending[1].done():
            return
        pending, self._pending = self._pending[1], None
        try:
            chunk = pending.result()
        except Exception:
            self.chunks.lost()
            raise
        self.made_with = self._making
        self.steps.note(self.chunks.landed(chunk).steps)

    def _work(self, ask: Ask, seen: Tensor, batch: Mapping[str, Any], left_ms: float | None) -> Callable[[], Tensor]:
        left_ms = self.execution.deadline_ms if left_ms is None else left_ms
        row = self._budget.by(left_ms) if self._budget is not None else 0
        policy, self._making = self._policies[row], self._name(row)
        delay = round(self.delay)

        def chunk() -> Tensor:
            begin = time.perf_counter()
            found = self._made(policy, policy.asked(seen, batch), ask, delay)[0]
            self.spent_ms.note(1000 * (time.perf_counter() - begin))
            return found

        return chunk

    def _made(self, policy: DiffusionPolicy, asked: Queries, ask: Ask, delay: int) -> Tensor:
        """The actions of a chunk, [1, n, A]."""
        merge, left = self.execution.merge, len(ask.left)
        if merge in ("inpaint", "guided") and left:
            d = policy.config.denoiser
            total = d.horizon - d.observation_steps + 1
            count, fixed = min(left, total), min(delay, left, total)
            if merge == "guided":
                known = guided.Known(ask.left[:count], guided.soft_weights(count, fixed, total))
                return guided.guided(policy, asked, known, self._generator)
            if fixed:
                return guided.inpainted(policy, asked, guided.Known(ask.left[:fixed], torch.ones(fixed)), self._generator)
        return policy.future(asked, self._generator)

    def _name(self, row: int) -> str:
        if self._budget is not None:
            return self._budget.choices[row].name
        sampler = self._policies[row].sampler
        return f"{sampler.name}:{len(sampler)}"
