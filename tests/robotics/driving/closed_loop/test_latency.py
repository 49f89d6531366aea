"""When requests start, when their plans are used, and how old those are: by hand, and against a clock in real numbers."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotics.driving.closed_loop.latency import PERIOD_TICKS, Pipeline


def run(latency_s: float, ticks: int, first: int = 0) -> tuple[list[int], list[tuple[int, float] | None]]:
    """Starts of requests, and at each tick from `first` on the tick that the plan in use speaks of, and its age."""
    pipeline: Pipeline[int] = Pipeline(latency_s)
    used = []
    for tick in range(first, ticks):
        pipeline.land(tick)
        if pipeline.due(tick):
            pipeline.ask(tick, tick)
        used.append(pipeline.use(tick))
    return pipeline.started, used


@pytest.mark.parametrize(
    ("latency_s", "starts", "ages"),
    [
        (0.0, [0, 5, 10], [0, 0.1, 0.2, 0.3, 0.4, 0, 0.1, 0.2, 0.3, 0.4, 0, 0.1]),
        (0.1, [0, 5, 10], [None, 0.1, 0.2, 0.3, 0.4, 0.5, 0.1, 0.2, 0.3, 0.4, 0.5, 0.1]),
        (0.3, [0, 5, 10], [None, None, None, 0.3, 0.4, 0.5, 0.6, 0.7, 0.3, 0.4, 0.5, 0.6]),
        (0.665, [0, 7], [*[None] * 7, 0.7, 0.8, 0.9, 1.0, 1.1]),
        (1.0, [0, 10], [*[None] * 10, 1.0, 1.1]),
    ],
)
def test_by_hand(latency_s: float, starts: list[int], ages: list[float | None]) -> None:
    started, used = run(latency_s, 12)
    assert started == starts
    assert [u if u is None else u[1] for u in used] == pytest.approx(ages)


@given(st.integers(0, 3000), st.integers(1, 120))
def test_a_plan_is_used_from_its_arrival_until_the_next_and_its_age_is_exact(latency_ms: int, ticks: int) -> None:
    latency_s = latency_ms / 1000
    started, used = run(latency_s, ticks)
    assert all(b - a >= max(PERIOD_TICKS, math.ceil(latency_ms / 100)) for a, b in itertools.pairwise(started))
    for tick, u in enumerate(used):
        there = [s for s in started if s * 100 + latency_ms <= tick * 100]
        if not there:
            assert u is None
        else:
            assert u is not None
            assert u == (max(there), pytest.approx((tick - max(there)) * 0.1))
            assert u[1] >= latency_s - 1e-6
            assert u[1] <= latency_s + max(PERIOD_TICKS * 0.1, latency_s + 0.1) + 1e-6


def test_an_invalid_answer_leaves_the_plan_before_in_use() -> None:
    pipeline: Pipeline[str] = Pipeline(0.2)
    pipeline.ask(0, "good")
    pipeline.land(2)
    pipeline.ask(5, None)
    assert not pipeline.due(6)  # the planner is busy all the same
    pipeline.land(7)
    assert pipeline.use(7) == ("good", pytest.approx(0.7))
