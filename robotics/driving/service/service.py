"""The planner service: every request is answered by its deadline, with a checked plan or an explicit refusal to drive on.

The answer that does without the model is made before the model is asked, so that at the deadline it has only to be sent. Waiting is
all that is left to do then, and waiting is punctual as long as the planner computes elsewhere: in a process of its own
(`ProcessBackend`), or in a thread that gives way (`ThreadBackend`).
"""

from __future__ import annotations

import time
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from typing import Any

from edge.core.errors import EdgeError
from robotics.driving.safety.chain import Decision, Situation, decide
from robotics.driving.safety.checks import Check, passed, staged
from robotics.driving.safety.last_valid import LastValid
from robotics.driving.safety.proposal import Proposal
from robotics.driving.safety.trajectory import Trajectory
from robotics.driving.service.gate import Gate
from robotics.driving.service.misses import Misses, Probe
from robotics.driving.service.proposing import Backend, PlannerDown
from robotics.driving.service.request import PlanFields
from robotics.driving.service.respond import respond
from robotics.driving.service.response import PlanResponse, Timing

GUARD_MS = 4.0
"""The planner is given up so long before the deadline: checking its plan, or saying that there is none, takes less."""
LONGEST_MS = 120_000.0
"""How long a request without a deadline waits."""
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

    def plan(self, request: PlanFields) -> PlanResponse:
        """The answer, by the deadline. Raises EdgeError where the request itself cannot be honoured (an unknown command, a picture
        that is none).
        """
        call = _Call(request, time.monotonic(), time.time_ns())
        situation = self._situation(call)
        without = decide(situation, None)
        if without.chosen.brake == "standing" or not passed(list(situation.fresh)):
            return self._answer(call, without, None)
        if self.misses.unreliable:
            self._look_again(call)
            return self._answer(call, _because(without, "PLANNER_UNRELIABLE"), None)
        started = time.monotonic()
        turn = self._gate.enter(call.stamp_ns, call.give_up)
        call.queued = time.monotonic() - started
        if turn != "turn":
            why = "SUPERSEDED" if turn == "superseded" else "DEADLINE_MISSED"
            return self._answer(call, _because(without, why), None)
        try:
            proposal, why = self._proposal(call)
        finally:
            self._gate.leave()
        if proposal is None:
            return self._answer(call, _because(without, why), None)
        started = time.monotonic()
        decision = decide(replace(situation, fresh=self._fresh(call)), proposal)
        call.checked = time.monotonic() - started
        return self._answer(call, decision, proposal)

    def _proposal(self, call: _Call) -> tuple[Proposal | None, str]:
        """The planner's plan, or None and why there is none."""
        started = time.monotonic()
        late, future, why = True, None, ""
        try:
            left = max(call.give_up - started, 0.0)
            future = self.backend.submit(call.request, None if call.request.deadline_ms is None else left * 1e3)
            proposal = future.result(left)
            late = False
            return proposal, ""
        except self._refusals:
            late = False
            raise
        except TimeoutError:
            why = "DEADLINE_MISSED"
        except PlannerDown:
            why = "PLANNER_DOWN"
        except (Exception, CancelledError):
            why = "PLANNER_FAILED"
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

    def _answer(self, call: _Call, decision: Decision, proposal: Proposal | None) -> PlanResponse:
        if decision.status in ("OK", "DEGRADED"):
            self._last = _Kept(decision.trajectory, call.request.sensor_stamp_ns, call.arrived)
        now = time.monotonic()
        timing = Timing(
            queue_ms=round(call.queued * 1e3, 3),
            planner_ms=round(call.planned * 1e3, 3),
            checks_ms=round(call.checked * 1e3, 3),
            total_ms=round((now - call.arrived) * 1e3, 3),
            deadline_ms=call.request.deadline_ms,
            met=now <= call.deadline,
        )
        return respond(call.request, decision, proposal, timing, call.stamp_ns)


def _because(decision: Decision, why: str) -> Decision:
    return replace(decision, reasons=(why, *decision.reasons))
