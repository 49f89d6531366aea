"""Goals that run: an action server's goals, each by a job in a thread of its own, told to whoever carries them.

A job is a generator: it yields feedback, returns the result, and between the two it waits for messages of topics. `Stopped` comes
out of its waiting when its goal was cancelled or a newer one has taken its place; what it does then, such as telling the robot to
hold, is its own affair. Requests never wait for jobs, so a cancel is heard while its goal runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Hashable, Sequence
from typing import Any, Protocol, TypeVar

from edge.core.errors import EdgeError
from robotics.action import messages
from robotics.action.goals import MOST_GOALS, RESULT_TIMEOUT_NS, Cancelled, Goal, GoalServer, Notice, Status
from robotics.action.interfaces import fields
from robotics.action.messages import Message
from robotics.action.topics import Board

LOG = logging.getLogger(__name__)
T = TypeVar("T")
HOUSEKEEPING_S = 1.0
"""How often ended goals are looked at, whether they can be forgotten."""


class Stopped(Exception):
    """A job is to end: cancelled, or superseded. What it has so far is its result."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Failed(Exception):
    """Raised by a job that cannot do what it was asked to. result: a message of the action's result."""

    def __init__(self, result: Message) -> None:
        super().__init__("failed")
        self.result = result


class Ended(Exception):
    """Raised by a job that has ended because it was stopped. result: what it has so far."""

    def __init__(self, result: Message) -> None:
        super().__init__("ended")
        self.result = result


class Run:
    """A job's view of the world: topics, and whether it is to stop."""

    def __init__(self, board: Board, goal_id: bytes) -> None:
        self.board, self.goal_id = board, goal_id
        self._why: str | None = None

    def stop(self, why: str) -> None:
        self._why = self._why or why
        self.board.wake()

    @property
    def stopped(self) -> bool:
        return self._why is not None

    def check(self) -> None:
        """Raises Stopped."""
        if self._why is not None:
            raise Stopped(self._why)

    def wait(self, topics: Collection[str], ready: Callable[[], T | None], timeout_s: float | None = None) -> T | None:
        """See `Board.wait`; None when it is too late. Raises Stopped."""
        found = self.board.wait(topics, ready, timeout_s, lambda: self.stopped)
        self.check()
        return found

    def pause(self, seconds: float) -> None:
        """Raises Stopped."""
        self.wait((), lambda: None, max(0.0, seconds))


class Job(Protocol):
    """What an action does."""

    @property
    def kind(self) -> str:
        """The action's type, `pkg/action/Name`."""
        ...

    @property
    def inputs(self) -> Sequence[str]:
        """Topics that it reads."""
        ...

    @property
    def outputs(self) -> Sequence[str]:
        """Topics that it writes."""
        ...

    def refusal(self, goal: Message) -> str | None:
        """Why a goal is not taken, if it is not."""
        ...

    def run(self, goal: Message, here: Run) -> Generator[Message, None, Message]:
        """Yields feedback, returns the result. Raises Failed, Ended after Stopped, or EdgeError for what the goal cannot have."""
        ...


Listener = Callable[[Notice], None]


class Executive:
    """One action and its goals, of which one runs at a time: a newer one supersedes it, as joint trajectory controllers have it.

    Any thread may ask; listeners are called in the order of what happened, one at a time.
    """

    def __init__(
        self, name: str, job: Job, board: Board, *, most: int = MOST_GOALS, result_timeout_ns: int = RESULT_TIMEOUT_NS
    ) -> None:
        self.name, self.job, self.board = name, job, board
        self._goals = GoalServer(most=most, result_timeout_ns=result_timeout_ns)
        self._lock = threading.RLock()
        self._telling = threading.RLock()
        self._untold: deque[Notice] = deque()
        self._listeners: list[Listener] = []
        self._runs: dict[bytes, Run] = {}
        self._turn = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._keep_house, name=f"goals of {name}", daemon=True).start()

    @property
    def kind(self) -> str:
        return self.job.kind

    # --- what transports ask ------------------------------------------------------------------------------------------------------

    def send(self, goal_id: bytes, asked: Message, reply: Callable[[Goal | None, str], None]) -> None:
        """A new goal. reply: is told the goal, or None and why it is rejected, before anything else of it is told to anybody.

        Raises GoalError for an id that is none.
        """
        with self._telling:
            with self._lock:
                self._goals.expire(now_ns())
                why = "the server is going away" if self._closed.is_set() else self.job.refusal(asked)
                goal = None if why else self._goals.send(goal_id, asked, now_ns())
                if goal is None:
                    why = why or self._why_not(goal_id)
                else:
                    for run in self._runs.values():
                        run.stop("superseded by a newer goal")
                    run = self._runs[goal_id] = Run(self.board, goal_id)
                    threading.Thread(target=self._run, args=(goal, run), name=f"goal of {self.name}", daemon=True).start()
                self._collect()
            reply(goal, why or "")
        self._tell()

    def cancel(self, goal_id: bytes, stamp_ns: int) -> Cancelled:
        """See `GoalServer.cancel`."""
        with self._lock:
            found = self._goals.cancel(goal_id, stamp_ns)
            for one, _ in found.goals:
                if one in self._runs:
                    self._runs[one].stop("cancelled")
            self._collect()
        self._tell()
        return found

    def ask_result(self, goal_id: bytes, request: Hashable) -> None:
        """See `GoalServer.ask_result`; listeners are told."""
        with self._lock:
            self._goals.expire(now_ns())
            self._goals.ask_result(goal_id, request)
            self._collect()
        self._tell()

    def lost(self, gone: Callable[[Any], bool]) -> None:
        """See `GoalServer.lost`."""
        with self._lock:
            self._goals.lost(gone)

    def statuses(self) -> list[tuple[bytes, int, Status]]:
        with self._lock:
            return self._goals.statuses()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Be told what happens; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def close(self, patience_s: float = 5.0) -> None:
        """No more goals; those that run are stopped and have so long to end."""
        self._closed.set()
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.stop("the server is going away")
        until = time.monotonic() + patience_s
        while self._runs and time.monotonic() < until:
            time.sleep(0.01)

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _run(self, goal: Goal, run: Run) -> None:
        with self._turn:  # the one before has heard that it is to end
            outcome, result = self._outcome(goal, run)
        with self._lock:
            if goal.status is Status.ACCEPTED:  # stopped before its turn came
                self._goals.execute(goal.id)
            canceling = goal.status is Status.CANCELING
            if outcome is Status.SUCCEEDED:
                self._goals.succeed(goal.id, result, now_ns())
            elif outcome is Status.CANCELED and canceling:
                self._goals.canceled(goal.id, result, now_ns())
            else:
                self._goals.abort(goal.id, result, now_ns())
            del self._runs[goal.id]
            self._collect()
        self._tell()

    def _outcome(self, goal: Goal, run: Run) -> tuple[Status, Message]:
        try:
            with self._lock:
                run.check()
                self._goals.execute(goal.id)
                self._collect()
            self._tell()
            steps = self.job.run(goal.asked, run)
            while True:
                try:
                    feedback = next(steps)
                except StopIteration as done:
                    return Status.SUCCEEDED, done.value
                with self._lock:
                    self._goals.feedback(goal.id, feedback)
                    self._collect()
                self._tell()
        except Stopped as e:
            return Status.CANCELED, said(self.kind, e.why)
        except Ended as e:
            return Status.CANCELED, e.result
        except Failed as e:
            return Status.ABORTED, e.result
        except EdgeError as e:
            return Status.ABORTED, said(self.kind, str(e))
        except Exception as e:
            LOG.exception("a goal of %s failed", self.name)
            return Status.ABORTED, said(self.kind, f"internal error: {type(e).__name__}; the server's log has more")

    def _why_not(self, goal_id: bytes) -> str:
        if goal_id in self._goals.goals:
            return f"goal {goal_id.hex()} is known already; send another id"
        if len(self._goals.goals) >= self._goals.most:
            return f"{len(self._goals.goals)} goals are known already; send it again when some are forgotten"
        return "the goal's id stands for all goals; send another one"

    def _collect(self) -> None:
        self._untold.extend(self._goals.notices())

    def _tell(self) -> None:
        with self._telling:
            while self._untold:
                notice = self._untold.popleft()
                for listener in tuple(self._listeners):
                    try:
                        listener(notice)
                    except Exception:
                        LOG.exception("a listener of %s failed", self.name)

    def _keep_house(self) -> None:
        while not self._closed.wait(HOUSEKEEPING_S):
            with self._lock:
                self._goals.expire(now_ns())
                self._collect()
            self._tell()


def said(kind: str, text: str) -> Message:
    """A result of zeros, with a text where it has a field for one."""
    out = messages.empty(f"{kind}_Result")
    for name, _ in fields(f"{kind}_Result"):
        if name in ("message", "error_string"):
            return out | {name: text}
    return out


_last_ns = 0


def now_ns() -> int:
    """Nanoseconds since 1970, as ROS stamps goals, but never backwards."""
    global _last_ns
    _last_ns = max(_last_ns + 1, time.time_ns())
    return _last_ns
