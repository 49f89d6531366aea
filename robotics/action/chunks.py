"""Chunks of actions that overlap: which action is next, when to ask for more, and what becomes of a chunk that comes late.

There is no clock here, only control steps. What a late chunk skips is the actions that were executed since it was asked for: a
robot that held still meanwhile loses nothing of it (servers that skip by measured latency jump at the first chunk, which is the
slowest, while the robot has not moved). When to ask is a matter of the steps that chunks take to come, held ones among them.
Sans-IO: whoever runs the policy says when a chunk has come. Shapes: `n` actions of a chunk, `A` action size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from edge.core.errors import InputError

Merge = Literal["blocking", "newest", "average", "inpaint", "guided"]
"""What happens while a chunk is awaited, and to the actions that an old and a new one both hold.

blocking: the next chunk is asked for when the last one is used up, so the robot waits for it. newest: the new one replaces what is
left. average: where both say something, OLD_SHARE of the old one. inpaint, guided: the new one is made to go on from the old one
(`robotics.policy.guided`), and replaces it.
"""
OLD_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Ask:
    """A chunk is wanted. at: actions executed before now; step: steps before now; left: [k, A], of the old chunk from now on."""

    at: int
    step: int
    left: Tensor


@dataclass(frozen=True, slots=True)
class Landing:
    """A chunk has come. skipped: actions executed since it was asked for; steps: that passed since then."""

    skipped: int
    steps: int


class Chunks:
    """The actions of one robot.

    merge: see `Merge`; execute: actions of a chunk that are meant to be executed; a new chunk is asked for once so many are, or
    sooner where it would come too late (`delay` of `due`).
    """

    def __init__(self, merge: Merge, execute: int) -> None:
        if execute < 1:
            raise InputError(f"execute {execute}: at least one action of a chunk has to be executed")
        self.merge, self.execute = merge, execute
        self.at = self.step = 0
        """Actions executed so far, and steps, which some pass without one."""
        self._plan: list[Tensor] = []
        self._asked: Ask | None = None
        self._fresh = 0
        """Actions of the present chunk when it came."""
        self.stale = 0
        """Chunks that came when all of their actions had passed."""

    @property
    def left(self) -> int:
        return len(self._plan)

    @property
    def awaited(self) -> bool:
        return self._asked is not None

    def due(self, delay: float = 0.0) -> Ask | None:
        """Whether to ask for a chunk now, with the observation that the next action answers. delay: steps that it will take to
        come, as far as known. What it returns has to be answered by `landed` or `lost`.
        """
        if self._asked is not None:
            return None
        if self.merge == "blocking":
            wanted = not self._plan
        else:
            wanted = len(self._plan) <= max(self._fresh - self.execute, delay)
        if not wanted:
            return None
        left = torch.stack(self._plan) if self._plan else torch.empty(0, 0)
        self._asked = Ask(self.at, self.step, left)
        return self._asked

    def landed(self, chunk: Tensor) -> Landing:
        """The chunk [n, A] that was asked for is there."""
        assert self._asked is not None, "nobody asked for a chunk"
        gone, landing = self.at - self._asked.at, Landing(self.at - self._asked.at, self.step - self._asked.step)
        self._asked = None
        new = list((chunk[: self.execute] if self.merge == "blocking" else chunk).unbind(0))[gone:]
        if not new:
            self.stale += 1
            return landing
        if self.merge == "average":
            new = [torch.lerp(n, self._plan[i], OLD_SHARE) if i < len(self._plan) else n for i, n in enumerate(new)]
        self._plan, self._fresh = new, len(new)
        return landing

    def lost(self) -> None:
        """The chunk that was asked for will not come."""
        self._asked = None

    def next(self) -> Tensor | None:
        """A step passes. The next action [A], which is executed now; None where there is none, and then none is."""
        self.step += 1
        if not self._plan:
            return None
        self.at += 1
        return self._plan.pop(0)
