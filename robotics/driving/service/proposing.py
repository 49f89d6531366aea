"""From a request to an untrusted plan: what every planner behind the service is a case of."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from edge.core.errors import InputError
from robotics.driving.answer import parse
from robotics.driving.safety.proposal import Proposal
from robotics.driving.service.request import PlanRequest

if TYPE_CHECKING:
    from edge.generation import Generation
    from robotics.driving.planner import Planner

Interruption = Callable[[], None]
"""To be called between forwards; raises when nobody waits for the plan any more."""
Propose = Callable[[PlanRequest, float | None, Interruption], Proposal]
"""(request, milliseconds left or None, interruption). An EdgeError is the fault of the request; anything else that is raised is a
failure of the planner."""


class Interrupted(Exception):
    """Nobody waits for the plan any more."""


class PlannerDown(Exception):
    """There is no planner at the moment: it died, hangs, or is being started."""


class Backend(Protocol):
    """Where plans are made. Requests are handed in one at a time."""

    def submit(self, request: Any, left_ms: float | None) -> Future[Proposal]:
        """Returns at once. Cancelling the future interrupts the planner."""
        ...


def of_planner(planner: Planner) -> Propose:
    """A loaded checkpoint as a planner behind the service."""

    def propose(request: PlanRequest, left_ms: float | None, interruption: Interruption) -> Proposal:
        rollouts: dict[str, Any] = {"rollouts": request.n_rollouts, "seed": request.seed} if request.n_rollouts > 1 else {}
        generation = planner.generate(
            request.images,
            request.history,
            request.nav_command,
            strategy=request.strategy,
            deadline_ms=left_ms,
            sections=request.sections,
            watch=lambda _: interruption(),
            **rollouts,
            **request.options,
        )
        return proposed(planner, generation, request)

    return propose


def proposed(planner: Planner, generation: Generation, request: PlanRequest) -> Proposal:
    """What a generation says; a text that is no answer stays unread, for the checks to reject."""
    try:
        waypoints = planner.waypoints(parse(generation.text), request.history, request.nav_command)
    except InputError:
        waypoints = None
    return Proposal(generation.text, waypoints, generation.skipped_sections, told(generation, request.strategy))


def told(generation: Generation, strategy: str) -> dict[str, Any]:
    """What a plan cost, for the reply."""
    return {
        "strategy": strategy,
        "forwards": generation.forwards,
        "lossless": generation.lossless,
        "finish_reason": generation.finish_reason,
        "timings": dict(generation.timings),
        "spread": [float(x) for x in generation.spread],
    }
