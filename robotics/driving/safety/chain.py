"""The chain of candidates: the first that passes every hard check is driven.

    model -> last valid plan, re-anchored -> comfort brake -> stop in lane -> (nothing passes) REJECTED with a stop

Stages in order, cheap ones first: freshness, schema, plausibility, kinematics, collision. Of a model's answer the waypoints alone
are judged: its explanation is carried along and never read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robotics.driving.safety.braking import arc_stop, path_stop
from robotics.driving.safety.checks import Check, comfortable, passed, staged
from robotics.driving.safety.collision import collision
from robotics.driving.safety.ego import Ego
from robotics.driving.safety.kinematics import kinematics
from robotics.driving.safety.last_valid import LastValid, reanchored
from robotics.driving.safety.plausibility import plausibility
from robotics.driving.safety.profile import VehicleProfile
from robotics.driving.safety.proposal import Proposal, Read, read
from robotics.driving.safety.resample import deviation_m, resample, route
from robotics.driving.safety.trajectory import STANDING, Trajectory

F64 = NDArray[np.float64]

Status = Literal["OK", "DEGRADED", "FALLBACK", "REJECTED"]
Source = Literal["model", "model_truncated", "last_valid", "brake_stop"]
BrakeKind = Literal["comfort", "in_lane", "standing"]

DEVIATION_M = 1.0
"""The dense trajectory passes its waypoints within this (what Autoware lets an ego deviate from its plan along the way)."""
NO_BOXES: F64 = np.zeros((0, 6))
STAGE_REASONS = {
    "freshness": "STALE_INPUT",
    "schema": "BAD_SCHEMA",
    "plausibility": "IMPLAUSIBLE",
    "kinematics": "UNDRIVABLE",
    "collision": "COLLISION",
}


@dataclass(frozen=True, slots=True)
class Situation:
    """What candidates are judged against. boxes: [N, 6], see `collision`; fresh: checks of the age of the input."""

    ego: Ego
    profile: VehicleProfile = field(default_factory=VehicleProfile)
    last: LastValid | None = None
    boxes: F64 = field(default_factory=lambda: NO_BOXES)
    fresh: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing that could be driven, and what the checks say of it."""

    source: Source
    trajectory: Trajectory | None
    checks: list[Check]
    brake: BrakeKind | None = None

    @property
    def passed(self) -> bool:
        return self.trajectory is not None and passed(self.checks)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is driven, why, and every candidate that was looked at, in order. read: the model's, as far as it was readable."""

    status: Status
    chosen: Candidate
    reasons: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    read: Read | None = None

    @property
    def trajectory(self) -> Trajectory:
        assert self.chosen.trajectory is not None
        return self.chosen.trajectory


def decide(situation: Situation, proposal: Proposal | None, why: str | None = None) -> Decision:
    """The first candidate that passes. proposal: the model's, or None and `why` there is none (a reason code)."""
    ego = staged("plausibility", situation.ego.checks(situation.profile))
    if not passed(ego):
        standing = Candidate("brake_stop", STANDING, ego, "standing")
        return Decision("REJECTED", standing, _told("EGO_IMPLAUSIBLE", why), (standing,))
    found = None if proposal is None else read(proposal)
    seen: list[Candidate] = []
    reasons = [] if why is None else [why]
    if found is not None or not passed(list(situation.fresh)):
        model = _model(situation, found)
        seen.append(model)
        if model.passed:
            status, said = _quality(model)
            return Decision(status, model, said, tuple(seen), found)
        reasons.append(_stage_reason(model))
    for candidate in fallbacks(situation):
        seen.append(candidate)
        if candidate.passed:
            return Decision("FALLBACK", candidate, tuple(reasons), tuple(seen), found)
    return Decision("REJECTED", seen[-1], (*reasons, "NO_CANDIDATE_PASSES"), tuple(seen), found)


def fallbacks(situation: Situation) -> Iterator[Candidate]:
    """What takes a plan's place, made one after the other as they are asked for. The last is always drivable."""
    ego, profile, last = situation.ego, situation.profile, situation.last
    stop = None
    if last is not None and last.age_s * 1e3 <= profile.last_valid_age_ms:
        trajectory, checks = judged(reanchored(last, ego), situation)
        yield Candidate("last_valid", trajectory, checks)
        if trajectory is not None:
            stop = path_stop(ego, profile.lane_stop, profile, trajectory)
    yield _stop(situation, arc_stop(ego, profile.comfort_brake, profile), "comfort")
    if stop is not None:
        yield _stop(situation, stop, "in_lane")
    yield _stop(situation, arc_stop(ego, profile.lane_stop, profile), "in_lane")


def judged(waypoints: F64, situation: Situation) -> tuple[Trajectory | None, list[Check]]:
    """Waypoints [5, 2] m through plausibility, kinematics and collision. No trajectory where the first stage fails."""
    speed, profile = situation.ego.v_mps, situation.profile
    found = route(waypoints)
    checks = staged("plausibility", plausibility(waypoints, found, speed, profile))
    if not passed(checks):
        return None, checks
    trajectory = resample(found, speed)
    near = Check.at_most("deviation", deviation_m(trajectory, waypoints), DEVIATION_M)
    checks += staged("kinematics", [near, *kinematics(trajectory, profile)])
    if passed(checks):
        checks += staged("collision", collision(trajectory, situation.boxes, profile))
    return trajectory, checks


def _model(situation: Situation, found: Read | None) -> Candidate:
    checks = list(situation.fresh)
    if found is None or not passed(checks):
        return Candidate("model", None, checks)
    source: Source = "model_truncated" if found.skipped else "model"
    whole = Check.that("sections", not found.skipped, critical=False)
    checks += staged("schema", [*found.checks, whole])
    if found.waypoints is None or not passed(checks):
        return Candidate(source, None, checks)
    trajectory, more = judged(found.waypoints, situation)
    return Candidate(source, trajectory, checks + more)


def _stop(situation: Situation, trajectory: Trajectory, kind: BrakeKind) -> Candidate:
    checks = staged("kinematics", kinematics(trajectory, situation.profile))
    checks += staged("collision", collision(trajectory, situation.boxes, situation.profile))
    return Candidate("brake_stop", trajectory, checks, kind)


def _quality(model: Candidate) -> tuple[Status, tuple[str, ...]]:
    """A plan that passed: OK, or DEGRADED and why."""
    reasons = []
    if model.source == "model_truncated":
        reasons.append("SECTIONS_SKIPPED")
    if not comfortable([c for c in model.checks if c.stage == "kinematics"]):
        reasons.append("UNCOMFORTABLE")
    return ("DEGRADED" if reasons else "OK"), tuple(reasons)


def _stage_reason(candidate: Candidate) -> str:
    failed = next(c for c in candidate.checks if c.critical and not c.ok)
    return STAGE_REASONS[failed.stage]


def _told(*reasons: str | None) -> tuple[str, ...]:
    return tuple(r for r in reasons if r is not None)
