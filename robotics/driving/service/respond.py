"""From a decision to a response. What a planner tells of itself is taken as far as it has the right form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from robotics.driving.answer import format_trajectory
from robotics.driving.coding import clamp
from robotics.driving.safety.chain import Candidate, Decision
from robotics.driving.safety.proposal import Proposal, Read
from robotics.driving.service.request import PlanFields
from robotics.driving.service.response import DenseTrajectory, PlanResponse, Timing

T = TypeVar("T")

SHOWN = 20_000
"""Characters of an answer that are repeated."""
VALID_S = 1.0
"""How long a plan may be driven on (Autoware: plan age up to 1 s)."""


def respond(request: PlanFields, decision: Decision, proposal: Proposal | None, timing: Timing, stamp_ns: int) -> PlanResponse:
    """stamp_ns: of the sensors, or of the arrival."""
    told = proposal.told if proposal is not None and isinstance(proposal.told, dict) else {}
    spread = _floats(told.get("spread"))
    read = decision.read
    raw = () if read is None or read.waypoints is None else tuple((round(x, 2), round(y, 2)) for x, y in read.waypoints.tolist())
    return PlanResponse(
        request_id=request.request_id,
        sensor_stamp_ns=request.sensor_stamp_ns,
        valid_until_ns=stamp_ns + int(VALID_S * 1e9),
        status=decision.status,
        source=decision.chosen.source,
        brake=decision.chosen.brake,
        reason_codes=decision.reasons,  # type: ignore[arg-type]
        sections=_sections(read),
        raw_waypoints=raw,
        trajectory=DenseTrajectory.of(decision.trajectory),
        spread=spread,
        spread_xy_m=tuple(zip(spread[::2], spread[1::2], strict=True)) if len(spread) == 10 else (),
        checks=tuple(c for candidate in decision.candidates for c in _checks(candidate)),  # type: ignore[arg-type]
        timing=timing,
        answer=_text(proposal.text)[:SHOWN] if proposal is not None and isinstance(proposal.text, str) else "",
        strategy=_text(_as(str, told.get("strategy"), "")),
        forwards=max(0, _as(int, told.get("forwards"), 0)),
        lossless=_as(bool, told.get("lossless"), False),
        finish_reason=_text(_as(str, told.get("finish_reason"), "")),
        skipped_sections=() if read is None else tuple(_text(s) for s in read.skipped),
        timings={k: round(v, 3) for k, v in _as(dict, told.get("timings"), {}).items() if isinstance(k, str) and _finite(v)},
        queue_ms=timing.queue_ms + (max(0.0, told["queue_ms"]) if _finite(told.get("queue_ms")) else 0.0),
    )


def _sections(read: Read | None) -> dict[str, Any]:
    """The four sections, their trajectory in absolute metres; none where they could not be read."""
    if read is None or read.answer is None or read.waypoints is None:
        return {}
    sections = read.answer.model_dump(mode="json")
    sections["explanation"] = _text(sections["explanation"])
    return sections | {"trajectory": format_trajectory(clamp(read.waypoints)[0])}


def _checks(candidate: Candidate) -> Iterator[dict[str, Any]]:
    """Fields of `CheckResult`, validated with the answer: one validation of many is far cheaper than many of one."""
    for c in candidate.checks:
        yield {
            "candidate": candidate.source,
            "stage": c.stage,
            "name": c.name,
            "value": c.value,
            "limit": c.limit,
            "ok": c.ok,
            "critical": c.critical,
        }


def _text(text: str) -> str:
    """Text that can be sent: half surrogate pairs are replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _as(kind: Callable[..., T], value: Any, default: T) -> T:
    return value if type(value) is kind else default


def _finite(value: Any) -> bool:
    return (isinstance(value, float) and math.isfinite(value)) or (type(value) is int and abs(value) < 1 << 63)


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in values) if isinstance(values, list | tuple) and all(_finite(v) for v in values) else ()
