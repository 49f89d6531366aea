"""The vehicle against closed forms, against fine Euler steps, and its limits for any wish."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotics.driving.closed_loop.bicycle import Bicycle, State

CAR = Bicycle.of_length(4.5)
DT = 0.1

states = st.builds(
    State,
    x=st.floats(-1e3, 1e3),
    y=st.floats(-1e3, 1e3),
    yaw=st.floats(-math.pi, math.pi),
    speed=st.floats(0, 40),
    accel=st.floats(-8, 4),
    steer=st.floats(-0.6, 0.6),
)


def test_straight_line_with_constant_acceleration() -> None:
    s = State(1.0, 2.0, 0.5, 8.0, accel=1.5)
    for _ in range(30):
        s = CAR.step(s, DT)
    way = 8.0 * 3 + 1.5 * 9 / 2
    assert (s.x, s.y) == pytest.approx((1 + way * math.cos(0.5), 2 + way * math.sin(0.5)))
    assert s.speed == pytest.approx(12.5)
    assert s.yaw == 0.5


def test_constant_steering_is_a_circle_of_the_radius_of_the_formula() -> None:
    steer = 0.2
    radius = CAR.behind_m / math.sin(CAR.slip(steer))
    s = State(0.0, 0.0, 0.0, 6.0, steer=steer)
    course = CAR.slip(steer)
    centre = -radius * math.sin(course), radius * math.cos(course)
    for _ in range(100):
        s = CAR.step(s, DT)
        assert math.hypot(s.x - centre[0], s.y - centre[1]) == pytest.approx(radius)
    assert s.yaw == pytest.approx(6.0 * 10 / radius)
    assert CAR.steer_for(1 / radius) == pytest.approx(steer)


@given(states)
def test_one_step_is_the_limit_of_many_small_euler_steps(s: State) -> None:
    n = 4000
    x, y, yaw, v, slip = s.x, s.y, s.yaw, s.speed, CAR.slip(s.steer)
    for _ in range(n):
        middle = max(v + s.accel * DT / n / 2, 0.0)
        x += middle * math.cos(yaw + slip) * DT / n
        y += middle * math.sin(yaw + slip) * DT / n
        yaw += middle * math.sin(slip) / CAR.behind_m * DT / n
        v = max(v + s.accel * DT / n, 0.0)
    held = CAR.actuate(s, 0.0, 0.0, DT)  # as the loop does: brakes never push backwards within a step
    e = CAR.step(held, DT)
    if held.accel == s.accel:
        assert (e.x, e.y, e.yaw, e.speed) == pytest.approx((x, y, yaw, v), abs=2e-3)


@given(states, st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_no_wish_breaks_a_limit(s: State, jerk: float, rate: float) -> None:
    held = CAR.actuate(s, jerk, rate, DT)
    assert CAR.accel[0] <= held.accel <= CAR.accel[1]
    assert abs(held.steer) <= CAR.steer
    assert abs(held.steer - s.steer) <= CAR.steer_rate * DT + 1e-9
    stops = held.accel == -s.speed / DT
    assert stops or abs(held.accel - s.accel) <= CAR.jerk * DT + 1e-9
    after = CAR.step(held, DT)
    assert after.speed >= 0
    assert math.hypot(after.x - s.x, after.y - s.y) <= (s.speed + CAR.accel[1] * DT) * DT + 1e-9
