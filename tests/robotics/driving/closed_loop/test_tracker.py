"""The regulators against brute force, and what they do on a line, on a circle, after an offset and to a stop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robotics.driving.closed_loop import tracker
from robotics.driving.closed_loop.bicycle import Bicycle, State
from robotics.driving.closed_loop.path import Path, plan_path
from robotics.driving.closed_loop.tracker import follow, gain, hold

CAR = Bicycle.of_length(4.5)
DT = 0.1


def chain(speed: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array([[0, speed, 0], [0, 0, speed / 2.7], [0, 0, 0.0]]), np.array([[0.0], [0.5], [1.0]])


def test_hold_is_the_limit_of_small_steps() -> None:
    a, b = chain(12.0)
    ad, bd = hold(a, b, DT)
    n = 20000
    z, u = np.array([[0.3], [-0.1], [0.05]]), 0.4
    end = ad @ z + bd * u
    for _ in range(n):
        z = z + (a @ z + b * u) * DT / n
    assert z == pytest.approx(end, abs=1e-4)


def test_gain_is_that_of_a_long_finite_horizon() -> None:
    """Dynamic programming backwards from the end, without the Riccati solver."""
    for speed in (2.0, 10.0, 30.0):
        a, b = hold(*chain(speed), DT)
        q, r = np.diag(tracker.ACROSS_Q), np.array([[tracker.ACROSS_R]])
        p, k = np.zeros((3, 3)), np.zeros((1, 3))
        for _ in range(3000):
            k = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
            p = q + a.T @ p @ (a - b @ k)
        assert gain(a, b, q, r) == pytest.approx(k, abs=1e-8)


def test_no_nearby_gain_costs_less() -> None:
    a, b = hold(*chain(10.0), DT)
    q, r = np.diag(tracker.ACROSS_Q), np.array([[tracker.ACROSS_R]])

    def cost(k: np.ndarray) -> float:
        z, total = np.array([1.0, 0.1, 0.0]), 0.0
        for _ in range(2000):
            u = -k @ z
            total += float(z @ q @ z + u @ r @ u)
            z = a @ z + b @ u
        return total

    best = gain(a, b, q, r)
    rng = np.random.default_rng(0)
    for _ in range(40):
        assert cost(best * (1 + rng.normal(0, 0.05, best.shape))) >= cost(best) - 1e-9


def drive(path: Path, s: State, seconds: float) -> list[State]:
    out = [s]
    for k in range(round(seconds / DT)):
        s = CAR.step(follow(CAR, s, path, k * DT), DT)
        out.append(s)
    return out


def test_on_its_line_at_its_speed_nothing_is_corrected() -> None:
    s = State(3.0, -2.0, 0.7, 10.0)
    path = plan_path([(10.0 * t, 0.0) for t in range(1, 6)], (3.0, -2.0, 0.7), 10.0)
    end = drive(path, s, 5.0)[-1]
    assert (end.x, end.y, end.yaw) == pytest.approx((3 + 50 * math.cos(0.7), -2 + 50 * math.sin(0.7), 0.7), abs=1e-6)
    assert (end.accel, end.steer) == pytest.approx((0, 0), abs=1e-6)


@pytest.mark.parametrize("turn", [-1, 1])
def test_a_circle_is_followed_within_a_hand(turn: int) -> None:
    radius, v = 15.0, 6.0
    angles = v / radius * np.arange(1, 6)
    waypoints = np.stack([radius * np.sin(angles), turn * radius * (1 - np.cos(angles))], axis=1)
    steer = CAR.steer_for(turn / radius)
    s = State(0.0, 0.0, -CAR.slip(steer), v, steer=steer)
    frame = (0.0, 0.0, 0.0)
    for e in drive(plan_path(waypoints, frame, v), s, 4.5):
        assert abs(math.hypot(e.x, e.y - turn * radius) - radius) < 0.15


def test_an_offset_is_steered_back_without_swinging_far() -> None:
    path = plan_path([(10.0 * t, 0.0) for t in range(1, 6)], (0.0, 0.0, 0.0), 10.0)
    y = np.array([s.y for s in drive(path, State(0.0, 1.0, 0.0, 10.0), 5.0)])
    assert abs(y[-1]) < 0.05
    assert y.min() > -0.2


def test_a_stop_ends_at_its_place_and_stays() -> None:
    v, brake = 10.0, 2.5
    t = np.minimum(np.arange(1.0, 6.0), v / brake)
    path = plan_path(np.stack([v * t - brake * t * t / 2, 0 * t], axis=1), (0.0, 0.0, 0.0), v)
    states = drive(path, State(0.0, 0.0, 0.0, v), 8.0)
    assert states[-1].x == pytest.approx(v * v / brake / 2, abs=0.4)
    assert states[-1].speed < 0.05
    assert all(s.speed >= 0 for s in states)


@pytest.mark.parametrize("waypoints", [[(0.0, 0.0)] * 5, [(-0.1, 0.05)] * 5, [(-3.0 * k, 0.0) for k in range(1, 6)]])
def test_a_plan_that_stands_or_goes_back_keeps_the_vehicle_where_it_is(waypoints: list) -> None:
    states = drive(plan_path(waypoints, (5.0, 5.0, 1.0), 0.0), State(5.0, 5.0, 1.0, 0.0), 5.0)
    assert math.hypot(states[-1].x - 5, states[-1].y - 5) < 0.2
    assert states[-1].yaw == pytest.approx(1.0, abs=0.02)


def test_the_path_goes_through_its_waypoints_at_their_times() -> None:
    waypoints = np.array([(9.0, 0.2), (17.0, 0.8), (24.0, 1.8), (30.0, 3.2), (35.0, 5.0)])
    path = plan_path(waypoints, (0.0, 0.0, 0.0), 10.0)
    for k, (x, y) in enumerate(waypoints, start=1):
        here, left = path.nearest(x, y)
        assert abs(left) < 0.02
        assert path.reference(float(k))[0] == pytest.approx(here, abs=0.1)
    assert np.all(np.diff(path.at) >= 0)
