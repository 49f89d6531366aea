"""The planner service: every request is answered by its deadline, with a checked plan or an explicit refusal to drive on.

The answer that does without the model is made before the model is asked, so that at the deadline it has only to be sent. Whoever
calls does nothing but wait: all work on a request is done in another thread, and the planner computes in a process of its own
(`ProcessBackend`), or in a thread that gives way (`ThreadBackend`). A thread that has just computed is woken late by the scheduler
of a busy machine, one that has only slept is not.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from edge.core.errors import EdgeError
from robotics.driving.safety.chain import Situation, decide
from robotics.driving.safety.checks import Check, passed, staged
from robotics.driving.safety.last_valid import LastValid
from robotics.driving.safety.proposal import Proposal
from robotics.driving.safety.trajectory import Trajectory
from robotics.driving.service.gate import Gate
from robotics.driving.service.misses import Misses, Probe
from robotics.driving.service.proposing import Backend, PlannerDown
from robotics.driving.service.request import PlanFields
from robotics.driving.service.respond import respond
from robotics.driving.service.response import PlanResponse, Reason, Timing

GUARD_MS = 8.0
"""The planner is given up so long before the deadline: checking its plan, or saying that there is none, and being woken on a busy
machine take less."""
LONGEST_MS = 120_000.0
"""How long a request without a deadline waits."""
LINGER_S = 0.002
"""Who calls is woken first, and the planner interrupted after that."""
DESKS = 8
"""Requests that are worked on. One is at the planner and one before it; the others are answered at once."""
AHEAD_MS = 100.0
"""A sensor stamp may lie so far in the future: clocks differ."""


@dataclass(frozen=True, slots=True)
class _Kept:
    trajectory: Trajectory
    stamp_ns: int | None
    arrived: float


@dataclass(slots=True)
class _Call:
    """A request on its way. Times are monotonic seconds."""

    request: PlanFields
    arrived: float
    arrived_ns: int
    queued: float = 0.0
    planned: float = 0.0
    checked: float = 0.0
    without: PlanResponse | None = None
    """The answer without the model, once it is made."""
    prepared: threading.Event = field(default_factory=threading.Event)
    claimed: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        """Whether the answer is still to be given: true once, for the one who gives it."""
        return self.claimed.acquire(blocking=False)

    @property
    def deadline(self) -> float:
        given = self.request.deadline_ms
        return self.arrived + (LONGEST_MS if given is None else given) / 1e3

    @property
    def give_up(self) -> float:
        return self.deadline - GUARD_MS / 1e3

    @property
    def stamp_ns(self) -> int:
        stamp = self.request.sensor_stamp_ns
        return self.arrived_ns if stamp is None else stamp

    def timing(self) -> Timing:
        now = time.monotonic()
        return Timing(
            queue_ms=round(self.queued * 1e3, 3),
            planner_ms=round(self.planned * 1e3, 3),
            checks_ms=round(self.checked * 1e3, 3),
            total_ms=round((now - self.arrived) * 1e3, 3),
            deadline_ms=self.request.deadline_ms,
            met=now <= self.deadline,
        )


class PlannerService:
    """Answers requests over one planner. `plan` may be called from any number of threads.

    refusals: exceptions of the backend that are the fault of the request, and are raised; all others are failures of the planner.
    """

    def __init__(self, backend: Backend, *, refusals: tuple[type[BaseException], ...] = (), misses: Misses | None = None) -> None:
        self.backend = backend
        self.misses = misses if misses is not None else Misses()
        self._refusals = (EdgeError, *refusals)
        self._gate, self._probe = Gate(), Probe(self.misses)
        self._last: _Kept | None = None
        self._desk = ThreadPoolExecutor(DESKS, thread_name_prefix="planner-service")

    def plan(self, request: PlanFields) -> PlanResponse:
        """The answer, by the deadline. Raises EdgeError where the request itself cannot be honoured (a picture that is none, an
        unknown section).
        """
        call = _Call(request, time.monotonic(), time.time_ns())
        work = self._desk.submit(self._work, call)
        try:
            return work.result(max(0.0, call.give_up - time.monotonic()))
        except TimeoutError:
            call.prepared.wait()
            if call.without is None or not call.claim():
                return work.result()
            return _because(call.without, "DEADLINE_MISSED", call)

    async def answer(self, request: PlanFields) -> PlanResponse:
        """`plan` for an event loop, whose timer is its clock: whatever holds the loop up holds up its replies, too."""
        call = _Call(request, time.monotonic(), time.time_ns())
        work = asyncio.wrap_future(self._desk.submit(self._work, call))
        work.add_done_callback(_heard)
        await asyncio.wait((work,), timeout=max(0.0, call.give_up - time.monotonic()))
        if not work.done():
            if not call.prepared.is_set():
                await asyncio.to_thread(call.prepared.wait)
            if call.without is not None and call.claim():
                return _because(call.without, "DEADLINE_MISSED", call)
        return await work

    def close(self) -> None:
        self._desk.shutdown(wait=False, cancel_futures=True)

    def _work(self, call: _Call) -> PlanResponse:
        try:
            return self._plan(call)
        finally:
            call.prepared.set()

    def _plan(self, call: _Call) -> PlanResponse:
        situation = self._situation(call)
        decision = decide(situation, None)
        call.without = without = respond(call.request, decision, None, call.timing(), call.stamp_ns)
        call.prepared.set()
        if decision.chosen.brake == "standing" or not passed(list(situation.fresh)):
            return without
        if self.misses.unreliable:
            self._look_again(call)
            return _because(without, "PLANNER_UNRELIABLE", call)
        started = time.monotonic()
        turn = self._gate.enter(call.stamp_ns, call.give_up)
        call.queued = time.monotonic() - started
        if turn != "turn":
            return _because(without, "SUPERSEDED" if turn == "superseded" else "DEADLINE_MISSED", call)
        try:
            proposal, why = self._proposal(call)
        finally:
            self._gate.leave()
        if proposal is None:
            return _because(without, why, call)
        started = time.monotonic()
        decision = decide(replace(situation, fresh=self._fresh(call)), proposal)
        call.checked = time.monotonic() - started
        if not call.claim():
            return without  # too late: it was answered, and the plan is dropped
        if decision.status in ("OK", "DEGRADED"):
            self._last = _Kept(decision.trajectory, call.request.sensor_stamp_ns, call.arrived)
        return respond(call.request, decision, proposal, call.timing(), call.stamp_ns)

    def _proposal(self, call: _Call) -> tuple[Proposal | None, Reason]:
        """The planner's plan, or None and why there is none."""
        started = time.monotonic()
        late, future = True, None
        why: Reason = "PLANNER_FAILED"
        try:
            left = max(call.give_up - started, 0.0)
            future = self.backend.submit(call.request, None if call.request.deadline_ms is None else left * 1e3)
            proposal = future.result(left + LINGER_S)
            late = False
            return proposal, why
        except self._refusals:
            late = False
            raise
        except TimeoutError:
            why = "DEADLINE_MISSED"
        except PlannerDown:
            why = "PLANNER_DOWN"
        except (Exception, CancelledError):
            pass
        finally:
            call.planned = time.monotonic() - started
            self.misses.record(late)
        if future is not None:
            future.cancel()
        return None, why

    def _look_again(self, call: _Call) -> None:
        """Have the planner work on this request for its own sake, unless it is at another one."""
        if not self._probe.due(time.monotonic()):
            return
        try:
            left = None if call.request.deadline_ms is None else call.request.deadline_ms - GUARD_MS
            future: Future[Any] = self.backend.submit(call.request, left)
        except Exception:
            self.misses.record(True)
            return
        self._probe.start(future, call.give_up)

    def _situation(self, call: _Call) -> Situation:
        request = call.request
        return Situation(request.motion(), request.vehicle_profile, self._last_valid(call), request.others(), self._fresh(call))

    def _fresh(self, call: _Call) -> tuple[Check, ...]:
        stamp, oldest = call.request.sensor_stamp_ns, call.request.vehicle_profile.input_age_ms
        if stamp is None or oldest is None:
            return ()
        age_ms = (call.arrived_ns - stamp) / 1e6 + (time.monotonic() - call.arrived) * 1e3
        return tuple(
            staged("freshness", [Check.at_most("input_age", age_ms, oldest), Check.at_least("input_ahead", age_ms, -AHEAD_MS)])
        )

    def _last_valid(self, call: _Call) -> LastValid | None:
        kept, stamp = self._last, call.request.sensor_stamp_ns
        if kept is None:
            return None
        both = kept.stamp_ns is not None and stamp is not None
        age = (stamp - kept.stamp_ns) / 1e9 if both else call.arrived - kept.arrived  # type: ignore[operator]
        return LastValid(kept.trajectory, age) if age >= 0 else None


def _heard(work: asyncio.Future[PlanResponse]) -> None:
    """An exception of work that nobody waits for any more is no news."""
    if not work.cancelled():
        work.exception()


def _because(without: PlanResponse, why: Reason, call: _Call) -> PlanResponse:
    """The answer without the model, which was made when the request came; little is left to do."""
    timing = call.timing()
    codes = (why, *without.reason_codes)
    return without.model_copy(update={"reason_codes": codes, "timing": timing, "queue_ms": timing.queue_ms})
