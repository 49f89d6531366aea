"""Whatever a model says and however the ego moves: a valid response, a drivable trajectory, and no OK that is none."""

from __future__ import annotations

import itertools
import json
import os
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robotics.driving.prompt import EgoHistory
from robotics.driving.safety.chain import Situation, decide
from robotics.driving.safety.checks import STAGES, Check
from robotics.driving.safety.ego import Ego
from robotics.driving.safety.last_valid import LastValid
from robotics.driving.safety.profile import HardLimits, VehicleProfile
from robotics.driving.safety.proposal import Proposal
from robotics.driving.safety.resample import resample, route
from robotics.driving.service.request import PlanRequest
from robotics.driving.service.respond import respond
from robotics.driving.service.response import PlanResponse, Timing
from tests.robotics.driving.safety import hostile
from tests.robotics.driving.safety.slow import broken

CASES = 300 if os.environ.get("EDGE_CASES") == "small" else 20_000
STILL = EgoHistory.read({"points": [{"x_m": 0.0, "y_m": 0.0, "v_mps": 0.0}] * 5})
REQUEST = PlanRequest(images=(), nav_command="GO_STRAIGHT", history=STILL)
TIMING = Timing(queue_ms=0, planner_ms=1, checks_ms=1, total_ms=2, deadline_ms=None, met=True)
VALIDATOR = jsonschema.Draft202012Validator(PlanResponse.model_json_schema(mode="serialization"))
QUICK = settings(max_examples=min(CASES, 2000), deadline=None, suppress_health_check=list(HealthCheck))


def answered(situation: Situation, proposal: Proposal | None, why: str | None = None) -> dict[str, Any]:
    """The response as it is sent, checked against its model and its JSON schema."""
    response = respond(REQUEST, decide(situation, proposal, why), proposal, TIMING, 0)
    sent = response.model_dump_json(by_alias=True)
    assert PlanResponse.model_validate_json(sent) == response
    out = json.loads(sent)
    VALIDATOR.validate(out)
    return out


def honest(out: dict[str, Any]) -> None:
    """The trajectory is drivable, and the status is what the checks say."""
    assert broken(out["trajectory"]["points"]) == []
    last = [c for c in out["checks"] if c["candidate"] == out["source"]]
    if out["status"] == "OK":
        assert all(c["ok"] for c in last)
        assert out["source"] == "model"
        assert out["reason_codes"] == []
    else:
        assert out["reason_codes"]
    if out["status"] == "DEGRADED":
        assert out["source"].startswith("model")
        assert all(c["ok"] for c in last if c["critical"])
    if out["status"] in ("OK", "DEGRADED"):
        assert len(out["sections"]) == 4
        for n, (x, y) in enumerate(out["raw_waypoints"], start=1):
            p = out["trajectory"]["points"][10 * n]
            assert np.hypot(p["x"] - x, p["y"] - y) < 1.01
    if out["status"] == "FALLBACK":
        assert out["source"] in ("last_valid", "brake_stop")
    assert (out["status"] == "REJECTED") <= (out["source"] == "brake_stop")


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_and_hostile_outputs(data: Any) -> None:
    ego = data.draw(hostile.egos | hostile.egos | hostile.broken_egos)
    proposal = data.draw(hostile.proposals(ego.v_mps))
    situation = Situation(ego, VehicleProfile(), data.draw(hostile.last_plans()), data.draw(hostile.boxes))
    out = answered(situation, proposal)
    honest(out)
    if out["status"] != "REJECTED":
        assert out["trajectory"]["points"][0]["v"] == pytest.approx(ego.v_mps, abs=1e-6)


@QUICK
@given(data=st.data(), why=st.sampled_from(["DEADLINE_MISSED", "PLANNER_FAILED", "SUPERSEDED"]))
def test_from_any_motion_there_is_a_stop(data: Any, why: str) -> None:
    out = answered(Situation(data.draw(hostile.egos), VehicleProfile()), None, why)
    honest(out)
    assert (out["status"], out["source"], out["brake"], out["reason_codes"]) == ("FALLBACK", "brake_stop", "comfort", [why])
    speeds = [p["v"] for p in out["trajectory"]["points"]]
    assert all(a >= b for a, b in itertools.pairwise(speeds))


@QUICK
@given(data=st.data())
def test_no_text_changes_the_verdict(data: Any) -> None:
    ego = data.draw(hostile.egos)
    points = data.draw(hostile.driven(ego.v_mps))
    said = data.draw(st.text() | st.sampled_from(["STOP! Do not drive.", "all is safe"]))
    situation = Situation(ego, VehicleProfile(), None, data.draw(hostile.boxes))
    one, other = (
        decide(situation, Proposal(json.dumps(hostile.answer(text), ensure_ascii=True), points)) for text in ("clear road", said)
    )
    assert (one.status, one.reasons) == (other.status, other.reasons)
    assert [c.checks for c in one.candidates] == [c.checks for c in other.candidates]
    assert np.array_equal(one.trajectory.points, other.trajectory.points)


@QUICK
@given(
    v0=st.floats(4, 38),
    kind=st.sampled_from(["brake", "accelerate", "tight", "fast bend", "sideways"]),
    beyond=st.floats(1.3, 3),
    side=st.sampled_from([-1, 1]),
)
def test_a_drive_beyond_a_hard_limit_is_never_ok(v0: float, kind: str, beyond: float, side: int) -> None:
    """Waypoints cut out of a motion that breaks one limit by 30 % or more, for five seconds."""
    accel, kappa = 0.0, 0.0
    if kind == "brake":
        v0, accel = 39.0, -9.8 * beyond
    if kind == "accelerate":
        accel = 6.0 * beyond
    if kind == "tight":
        v0, kappa = 4.0, 0.2 * beyond * side
    if kind == "fast bend":
        kappa = 0.8 * 9.81 / v0**2 * beyond * side
    t = np.arange(1.0, 6.0)
    until = np.minimum(t, v0 / -accel) if accel < 0 else t
    s = v0 * until + accel * until**2 / 2
    yaw = kappa * s
    points = np.stack([s * np.sinc(yaw / np.pi), s * np.sin(yaw / 2) * np.sinc(yaw / 2 / np.pi)], axis=1)
    if kind == "sideways":
        points = np.stack([np.zeros(5), side * v0 * t], axis=1)
    out = answered(Situation(Ego(v0)), Proposal(json.dumps(hostile.answer()), points))
    assert out["status"] == "FALLBACK", [c for c in out["checks"] if not c["ok"]]
    honest(out)


def says(points: Any, ego: Ego | None = None, **more: Any) -> dict[str, Any]:
    return answered(Situation(ego or Ego(10.0), **more), Proposal(json.dumps(hostile.answer()), points))


STRAIGHT = np.stack([10 * np.arange(1.0, 6.0), np.zeros(5)], axis=1)


def test_a_good_plan_is_ok() -> None:
    out = says(STRAIGHT)
    assert (out["status"], out["source"]) == ("OK", "model")
    assert {c["stage"] for c in out["checks"]} == {"schema", "plausibility", "kinematics"}
    assert [c["stage"] for c in out["checks"]] == sorted((c["stage"] for c in out["checks"]), key=STAGES.index)
    assert out["trajectory"]["points"][25]["x"] == pytest.approx(25, abs=0.01)


def test_a_rough_plan_is_degraded() -> None:
    out = says(np.stack([10 * np.arange(1.0, 6.0) + 2.2 * np.arange(1.0, 6.0) ** 2, np.zeros(5)], axis=1))
    assert (out["status"], out["reason_codes"]) == ("DEGRADED", ["UNCOMFORTABLE"])


def test_skipped_sections_are_told() -> None:
    found = decide(Situation(Ego(10.0)), Proposal(json.dumps(hostile.answer()), STRAIGHT, ("explanation",)))
    assert (found.status, found.chosen.source, found.reasons) == ("DEGRADED", "model_truncated", ("SECTIONS_SKIPPED",))


def test_standing_in_a_queue_is_ok_though_waypoints_jitter() -> None:
    jitter = np.array([[0.1, 0.05], [0.05, -0.1], [0.15, 0.0], [0.1, 0.1], [0.0, -0.05]])
    out = says(jitter, Ego(0.0))
    assert out["status"] == "OK", out["reason_codes"]
    assert max(p["x"] for p in out["trajectory"]["points"]) < 0.3


def test_coming_to_a_stop_is_ok() -> None:
    t = np.minimum(np.arange(1.0, 6.0), 4.0)
    out = says(np.stack([8 * t - t**2, np.zeros(5)], axis=1), Ego(8.0, -2.0))
    assert out["status"] == "OK", [c for c in out["checks"] if not c["ok"]]
    assert out["trajectory"]["points"][-1]["v"] < 0.3


def test_a_last_plan_is_driven_on_for_a_second_and_no_longer() -> None:
    last = resample(route(STRAIGHT), 10.0)
    for age, source in ((0.5, "last_valid"), (1.1, "brake_stop")):
        found = decide(Situation(Ego(10.0), last=LastValid(last, age)), None, "DEADLINE_MISSED")
        assert (found.status, found.chosen.source) == ("FALLBACK", source)
        assert found.reasons == ("DEADLINE_MISSED",)


def test_what_stands_ahead_is_stopped_for() -> None:
    ahead = np.array([[30.0, 0.0, 0.0, 4.5, 1.8, 0.0]])
    out = says(STRAIGHT, boxes=ahead)
    assert (out["status"], out["source"], out["brake"]) == ("FALLBACK", "brake_stop", "in_lane")
    assert out["reason_codes"] == ["COLLISION"]
    assert out["trajectory"]["points"][-1]["v"] == 0.0
    near = says(STRAIGHT, boxes=np.array([[7.0, 0.0, 0.0, 4.5, 1.8, 0.0]]))
    assert (near["status"], near["reason_codes"]) == ("REJECTED", ["COLLISION", "NO_CANDIDATE_PASSES"])
    honest(near)
    follower = says(STRAIGHT, boxes=np.array([[-12.0, 0.0, 0.0, 4.5, 1.8, 14.0]]))
    assert follower["status"] == "OK"


def test_old_input_is_not_planned_on() -> None:
    fresh = (Check("input_age", 1500.0, 1000.0, ok=False, stage="freshness"),)
    found = decide(Situation(Ego(10.0), fresh=fresh), Proposal(json.dumps(hostile.answer()), STRAIGHT))
    assert (found.status, found.reasons) == ("FALLBACK", ("STALE_INPUT",))
    assert found.candidates[0].checks == list(fresh)


@pytest.mark.parametrize("ego", [Ego(-1.0), Ego(61.0), Ego(float("nan")), Ego(5.0, 16.0), Ego(5.0, 0.0, float("inf"))])
def test_an_ego_that_cannot_be_is_rejected_with_a_stop(ego: Ego) -> None:
    out = says(STRAIGHT, ego)
    assert (out["status"], out["source"], out["brake"]) == ("REJECTED", "brake_stop", "standing")
    assert out["reason_codes"] == ["EGO_IMPLAUSIBLE"]
    assert all(p["v"] == p["x"] == 0.0 for p in out["trajectory"]["points"])


@QUICK
@given(data=st.data())
def test_a_tighter_profile_holds_as_well(data: Any) -> None:
    """On ice: a fifth of the lateral acceleration, for stops as well."""
    ice = VehicleProfile(hard=HardLimits(friction=0.2))
    ego = data.draw(hostile.egos)
    out = answered(Situation(ego, ice), data.draw(hostile.proposals(ego.v_mps)))
    assert broken(out["trajectory"]["points"], friction=0.2) == []


def test_the_chain_reads_no_explanation() -> None:
    """Not by accident either: the code of the checks does not name it."""
    import robotics.driving.safety as package

    for name in os.listdir(os.path.dirname(package.__file__)):
        if name.endswith(".py") and name != "__init__.py":
            with open(os.path.join(os.path.dirname(package.__file__), name), encoding="utf-8") as f:
                assert ".explanation" not in f.read(), name
