"""Goals of an action server, with the states and rules of ROS 2 (`rcl_action`), and nothing of what carries them.

Sans-IO: a transport hands requests in and is told what to send, by `Notice`s in the order in which they came about; whoever runs
goals says what becomes of them. Times are nanoseconds of any clock that does not run backwards, and are given, never read.
Sources: the state machine and cancel rules of `rcl_action` (goal_state_machine.c, action_server.c), the enum of
`action_msgs/msg/GoalStatus`, and the return codes of `action_msgs/srv/CancelGoal`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from edge.core.errors import InputError

NANOSECONDS = 1_000_000_000
RESULT_TIMEOUT_NS = 10 * NANOSECONDS
"""How long a result is kept after its goal ended: the default of `rcl_action`."""
MOST_GOALS = 256
"""Goals that are known at a time, ended ones among them: a client cannot fill a server's memory."""
ID_BYTES = 16
NO_ID = bytes(ID_BYTES)
"""Stands for any goal in a cancel request."""


class Status(IntEnum):
    """As in `action_msgs/msg/GoalStatus`."""

    UNKNOWN = 0
    ACCEPTED = 1
    EXECUTING = 2
    CANCELING = 3
    SUCCEEDED = 4
    CANCELED = 5
    ABORTED = 6

    @property
    def terminal(self) -> bool:
        return self >= Status.SUCCEEDED


class Event(IntEnum):
    """What happens to a goal."""

    EXECUTE = 0
    CANCEL_GOAL = 1
    SUCCEED = 2
    ABORT = 3
    CANCELED = 4


TRANSITIONS = {
    (Status.ACCEPTED, Event.EXECUTE): Status.EXECUTING,
    (Status.ACCEPTED, Event.CANCEL_GOAL): Status.CANCELING,
    (Status.EXECUTING, Event.CANCEL_GOAL): Status.CANCELING,
    (Status.EXECUTING, Event.SUCCEED): Status.SUCCEEDED,
    (Status.EXECUTING, Event.ABORT): Status.ABORTED,
    (Status.CANCELING, Event.SUCCEED): Status.SUCCEEDED,
    (Status.CANCELING, Event.ABORT): Status.ABORTED,
    (Status.CANCELING, Event.CANCELED): Status.CANCELED,
}
"""All that there are; whatever is not here is refused."""


class CancelCode(IntEnum):
    """As in `action_msgs/srv/CancelGoal`."""

    NONE = 0
    REJECTED = 1
    UNKNOWN_GOAL_ID = 2
    GOAL_TERMINATED = 3


class GoalError(InputError):
    """Something that the state machine does not allow."""


@dataclass(slots=True)
class Goal:
    """A goal that was accepted. asked: what the client wants; result: what came of it, once it ended."""

    id: bytes
    asked: Any
    stamp_ns: int
    status: Status = Status.ACCEPTED
    result: Any = None
    ended_ns: int | None = None
    waiting: list[Hashable] = field(default_factory=list)
    """Requests for the result that are not answered yet."""


@dataclass(frozen=True, slots=True)
class StatusNotice:
    """The status of some goal changed: publish those of all (latched; see `GoalServer.statuses`)."""


@dataclass(frozen=True, slots=True)
class FeedbackNotice:
    id: bytes
    value: Any


@dataclass(frozen=True, slots=True)
class ResultNotice:
    """Answer a request for a result. request: what the transport called it by; UNKNOWN for a goal that nobody knows."""

    request: Any
    id: bytes
    status: Status
    result: Any


Notice = StatusNotice | FeedbackNotice | ResultNotice


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The answer to a cancel request. goals: ids and stamps of those that are canceling now."""

    code: CancelCode
    goals: tuple[tuple[bytes, int], ...] = ()


class GoalServer:
    """The goals of one action.

    accepts: says whether a goal is taken; cancels: whether one may be cancelled; most: goals known at a time.
    """

    def __init__(
        self,
        *,
        accepts: Callable[[Any], bool] = lambda _: True,
        cancels: Callable[[Goal], bool] = lambda _: True,
        result_timeout_ns: int = RESULT_TIMEOUT_NS,
        most: int = MOST_GOALS,
    ) -> None:
        self._accepts, self._cancels = accepts, cancels
        self.result_timeout_ns, self.most = result_timeout_ns, most
        self.goals: OrderedDict[bytes, Goal] = OrderedDict()
        """By id, the oldest first."""
        self._notices: list[Notice] = []

    # --- what clients ask ---------------------------------------------------------------------------------------------------------

    def send(self, goal_id: bytes, asked: Any, now_ns: int) -> Goal | None:
        """A new goal, by an id that the client chose; None where it is rejected: known already, not accepted, or one too many.

        Raises GoalError for an id that is none.
        """
        _check(goal_id)
        if goal_id == NO_ID or goal_id in self.goals or len(self.goals) >= self.most or not self._accepts(asked):
            return None
        goal = self.goals[goal_id] = Goal(goal_id, asked, now_ns)
        self._notices.append(StatusNotice())
        return goal

    def cancel(self, goal_id: bytes, stamp_ns: int) -> Cancelled:
        """Cancel by id, by time (all goals accepted at or before it), both, or, with neither, all. Raises GoalError for a bad id.

        A single goal that is unknown, has ended or is canceling already is told by the code.
        """
        _check(goal_id)
        named = goal_id != NO_ID
        by_time = stamp_ns != 0 or not named
        goal = self.goals.get(goal_id)
        if named and not by_time:
            if goal is None:
                return Cancelled(CancelCode.UNKNOWN_GOAL_ID)
            if not _can(goal, Event.CANCEL_GOAL):
                return Cancelled(CancelCode.GOAL_TERMINATED)
        chosen = [
            g
            for g in self.goals.values()
            if (g.id == goal_id or (by_time and (stamp_ns == 0 or g.stamp_ns <= stamp_ns))) and _can(g, Event.CANCEL_GOAL)
        ]
        taken = [g for g in chosen if self._cancels(g)]
        for g in taken:
            self._apply(g, Event.CANCEL_GOAL)
        code = CancelCode.REJECTED if chosen and not taken else CancelCode.NONE
        return Cancelled(code, tuple((g.id, g.stamp_ns) for g in taken))

    def ask_result(self, goal_id: bytes, request: Hashable) -> None:
        """Somebody waits for a result: a notice tells it, now or once the goal has ended. Raises GoalError for a bad id."""
        _check(goal_id)
        goal = self.goals.get(goal_id)
        if goal is None:
            self._notices.append(ResultNotice(request, goal_id, Status.UNKNOWN, None))
        elif goal.status.terminal:
            self._notices.append(ResultNotice(request, goal_id, goal.status, goal.result))
        else:
            goal.waiting.append(request)

    def lost(self, gone: Callable[[Any], bool]) -> None:
        """A client went away: its requests, those for which `gone` holds, are not answered. Its goals go on, as in ROS."""
        for goal in self.goals.values():
            goal.waiting = [r for r in goal.waiting if not gone(r)]

    # --- what becomes of goals ----------------------------------------------------------------------------------------------------

    def execute(self, goal_id: bytes) -> None:
        """Raises GoalError, as the three below, for an unknown goal or one that is not in a state for it."""
        self._apply(self._known(goal_id), Event.EXECUTE)

    def succeed(self, goal_id: bytes, result: Any, now_ns: int) -> None:
        self._end(goal_id, Event.SUCCEED, result, now_ns)

    def abort(self, goal_id: bytes, result: Any, now_ns: int) -> None:
        self._end(goal_id, Event.ABORT, result, now_ns)

    def canceled(self, goal_id: bytes, result: Any, now_ns: int) -> None:
        self._end(goal_id, Event.CANCELED, result, now_ns)

    def feedback(self, goal_id: bytes, value: Any) -> None:
        """Raises GoalError for an unknown goal, and one that is neither executing nor canceling."""
        goal = self._known(goal_id)
        if goal.status not in (Status.EXECUTING, Status.CANCELING):
            raise GoalError(f"goal {goal_id.hex()}: feedback while {goal.status.name}; send it while the goal is executing")
        self._notices.append(FeedbackNotice(goal_id, value))

    def expire(self, now_ns: int) -> list[bytes]:
        """Forget goals that ended longer ago than the timeout; returns their ids."""
        old = [g.id for g in self.goals.values() if g.ended_ns is not None and now_ns - g.ended_ns >= self.result_timeout_ns]
        for goal_id in old:
            del self.goals[goal_id]
        if old:
            self._notices.append(StatusNotice())
        return old

    # --- what transports tell -----------------------------------------------------------------------------------------------------

    def statuses(self) -> list[tuple[bytes, int, Status]]:
        """Id, stamp and status of every known goal, the oldest first: what the status topic holds."""
        return [(g.id, g.stamp_ns, g.status) for g in self.goals.values()]

    def notices(self) -> list[Notice]:
        """All since the last call, in order. Several changes of status in a row are one notice."""
        found, self._notices = self._notices, []
        return [n for i, n in enumerate(found) if not (isinstance(n, StatusNotice) and found[i + 1 : i + 2] == [n])]

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _known(self, goal_id: bytes) -> Goal:
        if goal_id not in self.goals:
            raise GoalError(f"goal {goal_id.hex()}: is not known; it was never accepted, or its result has expired")
        return self.goals[goal_id]

    def _apply(self, goal: Goal, event: Event) -> None:
        if not _can(goal, event):
            raise GoalError(f"goal {goal.id.hex()}: {event.name} while {goal.status.name}; ROS 2 has no such transition")
        goal.status = TRANSITIONS[goal.status, event]
        self._notices.append(StatusNotice())

    def _end(self, goal_id: bytes, event: Event, result: Any, now_ns: int) -> None:
        goal = self._known(goal_id)
        self._apply(goal, event)
        goal.result, goal.ended_ns = result, now_ns
        self._notices += [ResultNotice(r, goal_id, goal.status, result) for r in goal.waiting]
        goal.waiting = []


def _can(goal: Goal, event: Event) -> bool:
    return (goal.status, event) in TRANSITIONS


def _check(goal_id: bytes) -> None:
    if len(goal_id) != ID_BYTES:
        raise GoalError(f"goal id {goal_id!r}: must have {ID_BYTES} bytes: got {len(goal_id)}; send a UUID")
