"""What a vehicle is answered, `plan/1`: always valid, its trajectory always within the hard limits, whatever the model did."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, FiniteFloat

from edge.core.config import Frozen
from robotics.driving.safety.chain import BrakeKind, Source, Status
from robotics.driving.safety.checks import Stage
from robotics.driving.safety.trajectory import COLUMNS, DT_S, POINTS, Trajectory

Pair = tuple[FiniteFloat, FiniteFloat]
FRAME = "ego_rear_axle_iso8855@sensor_stamp"

Reason = Literal[
    "STALE_INPUT",
    "BAD_SCHEMA",
    "IMPLAUSIBLE",
    "UNDRIVABLE",
    "COLLISION",
    "UNCOMFORTABLE",
    "SECTIONS_SKIPPED",
    "EGO_IMPLAUSIBLE",
    "NO_CANDIDATE_PASSES",
    "DEADLINE_MISSED",
    "PLANNER_FAILED",
    "PLANNER_DOWN",
    "PLANNER_UNRELIABLE",
    "SUPERSEDED",
]
"""Why an answer is no OK. The first seven are about the model's plan."""


class Point(Frozen):
    """A moment of a trajectory. yaw_rad is continuous, not wrapped; kappa 1/m, positive to the left."""

    t: FiniteFloat
    x: FiniteFloat
    y: FiniteFloat
    yaw: FiniteFloat
    v: Annotated[FiniteFloat, Field(ge=0)]
    a: FiniteFloat
    kappa: FiniteFloat


class DenseTrajectory(Frozen):
    """5 s at 10 Hz, the first point now."""

    dt_s: Annotated[float, Field(ge=DT_S, le=DT_S)] = DT_S
    points: Annotated[tuple[Point, ...], Field(min_length=POINTS, max_length=POINTS)]

    @classmethod
    def of(cls, trajectory: Trajectory) -> DenseTrajectory:
        rows = trajectory.points.tolist()
        return cls.model_validate({"points": [dict(zip(COLUMNS, r, strict=True)) for r in rows]})


class CheckResult(Frozen):
    """One check of one candidate. critical: a candidate that fails it is not driven."""

    candidate: Source
    stage: Stage
    name: str
    value: FiniteFloat | None
    limit: FiniteFloat | None
    ok: bool
    critical: bool


class Timing(Frozen):
    """Milliseconds. planner_ms: from handing the request to the planner to its answer or to giving it up."""

    queue_ms: Annotated[FiniteFloat, Field(ge=0)]
    planner_ms: Annotated[FiniteFloat, Field(ge=0)]
    checks_ms: Annotated[FiniteFloat, Field(ge=0)]
    total_ms: Annotated[FiniteFloat, Field(ge=0)]
    deadline_ms: FiniteFloat | None
    met: bool


class PlanResponse(Frozen):
    """The answer. sections, raw_waypoints and answer are the model's, for showing and for logs, where they could be read;
    `trajectory` is what may be driven."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True, protected_namespaces=())

    schema_: Literal["plan/1"] = Field(default="plan/1", alias="schema")
    request_id: str | None
    sensor_stamp_ns: int | None
    valid_until_ns: int
    """Nanoseconds since 1970: a plan that is older is not to be driven any more."""
    frame: Literal["ego_rear_axle_iso8855@sensor_stamp"] = FRAME
    status: Status
    source: Source
    brake: BrakeKind | None
    """Of source brake_stop: a comfortable stop, a stop in lane, or standing where it is."""
    reason_codes: tuple[Reason, ...]
    sections: dict[str, Any]
    raw_waypoints: Annotated[tuple[Pair, ...], Field(max_length=5)]
    trajectory: DenseTrajectory
    spread: tuple[FiniteFloat, ...]
    """Standard deviation over the rollouts of every number of the answer."""
    spread_xy_m: Annotated[tuple[Pair, ...], Field(max_length=5)]
    """The same per waypoint."""
    checks: tuple[CheckResult, ...]
    """Of every candidate that was looked at, in order; the last one is what is driven."""
    timing: Timing
    answer: str
    strategy: str
    forwards: Annotated[int, Field(ge=0)]
    lossless: bool
    finish_reason: str
    skipped_sections: tuple[str, ...]
    timings: dict[str, FiniteFloat]
    """Of the engine, by phase."""
    queue_ms: Annotated[FiniteFloat, Field(ge=0)]
