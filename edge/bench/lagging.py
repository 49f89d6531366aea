"""Policies whose chunks come late, in episodes that know no clock: so many control steps after they were asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robotics.action.realtime import Execution, PolicySession, Ready
from robotics.policy.arena.metaworld import Arena
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.senses import Senses


class Lagging:
    """A `Worker`: what it made is there `steps` actions after it was asked for."""

    def __init__(self, steps: int) -> None:
        self.steps, self.now = steps, 0

    def submit(self, work: Callable[[], Tensor]) -> Late:
        return Late(self, Ready(work))


class Late:
    def __init__(self, worker: Lagging, ready: Ready) -> None:
        self._worker, self._ready, self._when = worker, ready, worker.now + worker.steps

    def done(self) -> bool:
        return self._worker.now >= self._when

    def result(self) -> Tensor:
        return self._ready.result()


@dataclass(frozen=True, slots=True)
class Ridden:
    """An episode. held: the share of its steps in which the robot had no action; jerk: mean square of the third difference of the
    hand's way, m; jump: mean distance of one motion command from the one before, each within +-1.
    """

    task: str
    seed: int
    success: bool
    steps: int
    held: float
    jerk: float
    jump: float


def ride(
    policy: DiffusionPolicy, arena: Arena, seed: int, execution: Execution, lag: int, limit: int, senses: Senses | None = None
) -> Ridden:
    """One episode of at most `limit` steps, with chunks that come `lag` steps late."""
    senses = senses or Senses(arena, policy.config)
    worker = Lagging(lag)
    session = PolicySession([policy], worker, execution, generator=torch.Generator().manual_seed(seed))
    seen, done = arena.reset(seed), False
    hand, motions = [seen[:3]], []
    while not done and len(motions) < limit:
        action = session.act(senses(seen, look=session.due)).action
        worker.now += 1
        motions.append(action[:3].numpy())
        seen, done = arena.step(action.numpy())
        hand.append(seen[:3])
    way, said = np.array(hand, dtype=np.float64), np.array(motions, dtype=np.float64).clip(-1, 1)
    jerk = float((np.diff(way, 3, axis=0) ** 2).sum(1).mean()) if len(way) > 3 else 0.0
    jump = float(np.linalg.norm(np.diff(said, axis=0), axis=1).mean()) if len(said) > 1 else 0.0
    return Ridden(arena.task, seed, done, len(motions), session.held / len(motions), jerk, jump)
