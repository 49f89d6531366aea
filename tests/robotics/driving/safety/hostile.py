"""What a planner could hand in, sane, noisy and hostile; and how an ego could move."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

from robotics.driving.answer import CRITICAL_OBJECTS, format_trajectory
from robotics.driving.safety.braking import arc_stop
from robotics.driving.safety.ego import Ego
from robotics.driving.safety.last_valid import LastValid
from robotics.driving.safety.profile import VehicleProfile
from robotics.driving.safety.proposal import Proposal

any_float = st.floats(allow_nan=True, allow_infinity=True)
anything: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | any_float | st.text(max_size=9) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=12,
)

egos = st.builds(
    Ego,
    v_mps=st.floats(0, 60) | st.sampled_from([0.0, 0.3, 5.0, 13.0, 39.9, 60.0]),
    a_mps2=st.floats(-15, 15),
    yaw_rate_radps=st.floats(-3, 3) | st.just(0.0),
    past=st.just(()) | st.just(tuple((-2 + 0.5 * n, -10.0 + 2.5 * n, 0.1 * (4 - n)) for n in range(5))),
)
broken_egos = st.builds(Ego, v_mps=any_float, a_mps2=any_float, yaw_rate_radps=any_float)


@st.composite
def driven(draw: Any, v0: float) -> np.ndarray:
    """Waypoints [5, 2] of something like driving: an acceleration and a turn each second, within reach and a little beyond, and
    noise."""
    speed, x, y, yaw, out = v0, 0.0, 0.0, 0.0, []
    hard = draw(st.sampled_from([0.2, 1.0, 2.0]))
    for _ in range(5):
        accel = draw(st.floats(-5 * hard, 3 * hard))
        turn = draw(st.floats(-0.5 * hard, 0.5 * hard))
        mean = max(speed + accel / 2, 0.0)
        speed, yaw = max(speed + accel, 0.0), yaw + turn
        x, y = x + mean * np.cos(yaw - turn / 2), y + mean * np.sin(yaw - turn / 2)
        out.append((x, y))
    noise = draw(st.sampled_from([0.0, 0.05, 0.3, 3.0]))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    return np.array(out) + noise * rng.normal(size=(5, 2))


def arrays() -> Any:
    """Arrays of any form."""
    shape = st.sampled_from([(5, 2), (5, 2), (2, 5), (10,), (0, 2), (4, 2), (5, 2, 1)])
    return shape.flatmap(
        lambda s: st.lists(any_float | st.floats(-1e3, 1e3), min_size=int(np.prod(s)), max_size=int(np.prod(s))).map(
            lambda v: np.array(v).reshape(s)
        )
    )


def waypoints(v0: float) -> Any:
    speed = min(max(v0, 0.0), 80.0) if v0 == v0 else 5.0
    sane = driven(speed)
    return (
        sane
        | sane.map(lambda w: w.tolist())
        | sane.map(lambda w: w[::-1].copy())
        | sane.map(lambda w: w * 1e3)
        | sane.map(lambda w: -w)
        | st.just(np.zeros((5, 2)))
        | arrays()
        | anything
    )


def answer(explanation: str = "clear road", trajectory: Any = None) -> dict[str, Any]:
    return {
        "critical_objects": dict.fromkeys(CRITICAL_OBJECTS, "no"),
        "explanation": explanation,
        "future_meta_behavior": {"longitudinal": "keep speed", "lateral": "go straight"},
        "trajectory": format_trajectory(np.zeros((5, 2))) if trajectory is None else trajectory,
    }


@st.composite
def texts(draw: Any) -> Any:
    """Answers, broken answers, and anything else."""
    kind = draw(st.sampled_from(["right", "right", "right", "cut", "missing", "value", "text", "anything"]))
    right = answer(draw(st.text(max_size=30)))
    if kind == "missing":
        del right[draw(st.sampled_from(sorted(right)))]
    if kind == "value":
        value = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers())
        right[draw(st.sampled_from(sorted(right)))] = draw(value)
    written = json.dumps(right, ensure_ascii=draw(st.booleans()))
    if kind == "cut":
        return written[: draw(st.integers(0, len(written)))]
    if kind == "text":
        return draw(st.text(max_size=50))
    return draw(anything) if kind == "anything" else written


@st.composite
def proposals(draw: Any, v0: float) -> Proposal:
    skipped = draw(st.sampled_from([(), (), ("explanation",), ["explanation"], None, 3, [None]]))
    told = draw(st.just({"forwards": 3, "strategy": "fused", "lossless": True, "spread": [0.1] * 10}) | anything)
    return Proposal(draw(texts()), draw(waypoints(v0)), skipped, told)


boxes = st.lists(
    st.tuples(st.floats(-30, 80), st.floats(-10, 10), st.floats(-4, 4), st.floats(0.5, 12), st.floats(0.5, 3), st.floats(-5, 30)),
    max_size=4,
).map(lambda rows: np.array(rows, dtype=np.float64).reshape(-1, 6))


@st.composite
def last_plans(draw: Any) -> LastValid | None:
    if draw(st.booleans()):
        return None
    profile = VehicleProfile()
    return LastValid(arc_stop(draw(egos), profile.comfort_brake, profile), draw(st.floats(0, 1.5)))
