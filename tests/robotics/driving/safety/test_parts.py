"""The parts of the chain against slow twins and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from robotics.driving.safety import progress
from robotics.driving.safety.braking import arc_stop, braking_speeds, path_stop
from robotics.driving.safety.collision import contact_s, overlap
from robotics.driving.safety.ego import Ego
from robotics.driving.safety.kinematics import comfort, hard
from robotics.driving.safety.last_valid import LastValid, reanchored
from robotics.driving.safety.profile import Brake, HardLimits, VehicleProfile
from robotics.driving.safety.resample import deviation_m, resample, route
from robotics.driving.safety.spline import Spline
from robotics.driving.safety.trajectory import TIMES_S, Trajectory
from tests.robotics.driving.safety import hostile

PROFILE = VehicleProfile()
MANY = settings(max_examples=100, deadline=None)


@MANY
@given(gaps=st.lists(st.floats(0.1, 20), min_size=1, max_size=6), seed=st.integers(0, 1 << 30))
def test_the_spline_against_scipys(gaps: list[float], seed: int) -> None:
    """scipy has no parabolic runout, but takes the last second derivative, which is what runs out."""
    rng = np.random.default_rng(seed)
    knots = np.concatenate([[0.0], np.cumsum(gaps)])
    values, slope = rng.normal(size=(len(knots), 2)) * 10, rng.normal(size=2)
    ours = Spline.through(knots, values, slope)
    theirs = CubicSpline(knots, values, bc_type=((1, slope), (2, ours.curves[-1])))
    at = np.linspace(0, knots[-1], 50)
    for order, found in enumerate(ours(at)):
        np.testing.assert_allclose(found, theirs(at, order), rtol=1e-6, atol=1e-6 * max(1, np.abs(ours.curves).max()))
    np.testing.assert_allclose(ours.curves[-1], ours.curves[-2], atol=1e-9 * max(1, np.abs(ours.curves).max()))


@MANY
@given(steps=st.lists(st.floats(0, 40), min_size=5, max_size=5), v0=st.floats(0, 40))
@example(steps=[0.0, 18.4375, 27.75, 1.0, 17.0], v0=18.25)  # at 4 s it would run backwards between two times
def test_progress_against_least_squares_of_a_simulation(steps: list[float], v0: float) -> None:
    """The same optimum by stacked least squares over jerks, with a motion that is simulated, not integrated by matrices."""
    asked = np.cumsum(steps)
    n = 50

    def drive(first: float, jerks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        s, v, a, way, accel = 0.0, v0, first, [0.0], [first]
        for j in jerks:
            s, v, a = s + v * 0.1 + a * 0.005 + j * 0.001 / 6, v + a * 0.1 + j * 0.005, a + j * 0.1
            way.append(s)
            accel.append(a)
        return np.array(way), np.array(accel)

    rest = drive(0.0, np.zeros(n))[0]
    units = [drive(1.0, np.zeros(n))[0] - rest] + [drive(0.0, np.eye(n)[k])[0] - rest for k in range(n)]
    fit = np.stack([u[10::10] for u in units], axis=1)
    weight = progress.NOISE_M / progress.JERK_MPS3 * np.sqrt(0.1)
    smooth = np.concatenate([np.zeros((n, 1)), weight * np.eye(n)], axis=1)
    found = np.linalg.lstsq(np.concatenate([fit, smooth]), np.concatenate([asked - rest[10::10], np.zeros(n)]), rcond=None)[0]
    way, accel = drive(found[0], found[1:])
    ours = progress.motion(asked, v0)
    if (v0 + progress.SPEED @ (asked - v0 * progress.SECONDS) >= 0).all() and (np.diff(way) >= 0).all():
        np.testing.assert_allclose(ours[0], way, atol=1e-6)
        np.testing.assert_allclose(ours[2], accel, atol=1e-5)
    assert (ours[1] >= 0).all()
    assert (np.diff(ours[0]) >= -1e-9).all()


@MANY
@given(v=st.floats(3, 30), kappa=st.floats(-0.05, 0.05), accel=st.floats(-1.5, 1.5))
def test_resampling_gives_back_the_drive_that_waypoints_were_cut_from(v: float, kappa: float, accel: float) -> None:
    kappa = float(np.clip(kappa, -3.0 / (v + 8) ** 2, 3.0 / (v + 8) ** 2))
    run = TIMES_S if accel >= 0 else np.minimum(TIMES_S, v / -accel)
    s = v * run + accel * run**2 / 2
    yaw = kappa * s
    xy = np.stack([s * np.sinc(yaw / np.pi), s * np.sin(yaw / 2) * np.sinc(yaw / 2 / np.pi)], axis=1)
    found = resample(route(xy[10::10]), v)
    assert np.hypot(*(found.xy - xy).T).max() < 0.35
    assert np.abs(found.v - (v + accel * run)).max() < 0.6
    if s[-1] > 20:
        assert np.abs(found.kappa - kappa).max() < 0.01 + 0.25 * abs(kappa)
    assert deviation_m(found, xy[10::10]) < 0.35


@MANY
@given(v=st.floats(0, 60), a=st.floats(-15, 15), decel=st.floats(0.3, 4.9), jerk=st.floats(0.1, 20))
def test_braking_against_small_steps(v: float, a: float, decel: float, jerk: float) -> None:
    """The way of a stop, against adding up the speeds; never faster, and standing once it stands."""
    s, speed, accel = braking_speeds(Ego(v, a), Brake(decel_mps2=decel, jerk_mps3=jerk), PROFILE)
    np.testing.assert_allclose(s, np.concatenate([[0], np.cumsum((speed[1:] + speed[:-1]) / 2 * 0.1)]), atol=0.03)
    assert (np.diff(speed) <= 1e-12).all()
    assert (np.diff(s) >= 0).all()
    assert accel.min() >= PROFILE.hard.accel_min_mps2
    stands = np.flatnonzero(speed == 0)
    assert len(stands) == 0 or (speed[stands[0] :] == 0).all()


def test_a_comfort_brake_by_hand() -> None:
    """10 m/s, 1 m/s2 built up at 0.3 m/s3: after 10/3 s at full brake, 8.33 m/s; at 5 s 6.67 m/s."""
    _, speed, accel = braking_speeds(Ego(10.0), PROFILE.comfort_brake, PROFILE)
    assert accel[10] == pytest.approx(-0.3)
    assert accel[40] == pytest.approx(-1.0)
    assert speed[-1] == pytest.approx(10 - 0.5 * 10 / 3 - (5 - 10 / 3), abs=0.01)


def test_a_stop_along_a_path_keeps_to_it() -> None:
    bend = resample(route(np.array([[9.9, 1.0], [19.5, 3.9], [28.3, 8.6], [36.0, 15.0], [42.4, 22.6]])), 10.0)
    stop = path_stop(Ego(10.0), PROFILE.lane_stop, PROFILE, bend)
    for x, y in stop.xy:
        assert np.hypot(bend.x - x, bend.y - y).min() < 0.6
    assert stop.v[-1] == 0
    assert 10 < stop.length_m < 25


@MANY
@given(v=st.floats(1, 30), yaw_rate=st.floats(-0.3, 0.3), age=st.floats(0, 1))
def test_a_reanchored_plan_goes_on_where_it_led(v: float, yaw_rate: float, age: float) -> None:
    """An ego on a circle that planned this circle: seen from later on, it is the same circle."""
    kappa = yaw_rate / v

    def circle(t: np.ndarray) -> np.ndarray:
        turned = yaw_rate * t
        return np.stack([v * t * np.sinc(turned / np.pi), v * t * np.sin(turned / 2) * np.sinc(turned / 2 / np.pi)], axis=1)

    n = len(TIMES_S)
    plan = Trajectory.of(*circle(TIMES_S).T, yaw_rate * TIMES_S, np.full(n, v), np.zeros(n), np.full(n, kappa))
    ahead = reanchored(LastValid(plan, age), Ego(v, 0.0, yaw_rate))
    inside = np.arange(1.0, 6.0) + age <= 5
    np.testing.assert_allclose(ahead[inside], circle(np.arange(1.0, 6.0))[inside], atol=0.02)


def test_odometry_is_taken_from_the_past_where_there_is_one() -> None:
    past = tuple((-2 + 0.5 * n, 4.0 * (n - 4), 0.2 * (4 - n)) for n in range(5))
    n = len(TIMES_S)
    plan = Trajectory.of(8 * TIMES_S, np.zeros(n), np.zeros(n), np.full(n, 8.0), np.zeros(n), np.zeros(n))
    ahead = reanchored(LastValid(plan, 0.5), Ego(99.0, past=past))
    np.testing.assert_allclose(ahead, np.stack([8 * np.arange(1.0, 6.0), np.full(5, 0.2)], axis=1), atol=1e-9)


@MANY
@given(data=st.data())
def test_overlap_against_points(data: st.DataObject) -> None:
    """A dense grid of one rectangle's points inside the other, both ways and with both corners."""
    numbers = st.floats(-4, 4)
    offset = np.array([data.draw(numbers), data.draw(numbers)])
    angles = [data.draw(st.floats(-3, 3)), data.draw(st.floats(-3, 3))]
    halves = [np.array([data.draw(st.floats(0.5, 3)), data.draw(st.floats(0.5, 3))]) for _ in range(2)]
    units = [np.array([np.cos(a), np.sin(a)]) for a in angles]
    found = bool(overlap(offset, units[0], units[1], halves[0], halves[1]))

    def inside(grow: float) -> bool:
        u = np.linspace(-1, 1, 60)
        grid = np.stack(np.meshgrid(u, u), axis=-1).reshape(-1, 2) * halves[1]
        c, s = units[1]
        points = offset + np.stack([c * grid[:, 0] - s * grid[:, 1], s * grid[:, 0] + c * grid[:, 1]], axis=1)
        c, s = units[0]
        local = np.stack([c * points[:, 0] + s * points[:, 1], -s * points[:, 0] + c * points[:, 1]], axis=1)
        return bool((np.abs(local) <= halves[0] + grow).all(axis=1).any())

    if inside(0.0):
        assert found
    if not inside(0.2):
        assert not found


def test_contact_by_hand() -> None:
    """The front bumper is 3.8 m before the rear axle: at 10 m/s a wall at 23.8 m is met after 2 s; a crossing car at its time."""
    straight = resample(route(np.stack([10 * np.arange(1.0, 6.0), np.zeros(5)], axis=1)), 10.0)
    wall = np.array([[24.85, 0.0, 0.0, 2.0, 2.0, 0.0]])
    assert contact_s(straight, wall, PROFILE) == pytest.approx(2.0, abs=0.11)
    crossing = np.array([[30.0, -20.0, np.pi / 2, 4.0, 2.0, 8.0]])
    assert 2.0 < contact_s(straight, crossing, PROFILE) < 3.2
    assert contact_s(straight, np.array([[24.0, 6.0, 0.0, 4.0, 2.0, 10.0]]), PROFILE) > 90


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("speed", "v", 41.0),
        ("accel_min", "a", -9.9),
        ("accel_max", "a", 6.1),
        ("curvature", "kappa", 0.21),
        ("curvature", "kappa", -0.21),
        ("speed_min", "v", -0.1),
    ],
)
def test_every_hard_limit_is_seen_at_a_single_point(name: str, column: str, value: float) -> None:
    good = arc_stop(Ego(5.0), PROFILE.comfort_brake, PROFILE)
    assert all(c.ok for c in hard(good, PROFILE))
    points = good.points.copy()
    points[30, ["t", "x", "y", "yaw", "v", "a", "kappa"].index(column)] = value
    assert name in [c.name for c in hard(Trajectory(points), PROFILE) if not c.ok]


def test_positions_cannot_be_flattered_by_columns() -> None:
    """Gentle columns over positions that jump."""
    good = arc_stop(Ego(5.0), PROFILE.comfort_brake, PROFILE)
    points = good.points.copy()
    points[30:, 1] += 2.0
    failed = {c.name for c in hard(Trajectory(points), PROFILE) if not c.ok}
    assert {"accel_max", "accel_min"} <= failed


def test_comfort_of_a_sharp_bend_and_a_hard_brake() -> None:
    bend = arc_stop(Ego(12.0, 0.0, 0.55), PROFILE.comfort_brake, PROFILE)  # 6.6 m/s2
    assert "comfort_lateral_accel" in [c.name for c in comfort(bend, PROFILE) if not c.ok]
    brake = arc_stop(Ego(20.0, -6.0), Brake(decel_mps2=4.9, jerk_mps3=20.0), PROFILE)
    assert "comfort_accel_min" in [c.name for c in comfort(brake, PROFILE) if not c.ok]


@MANY
@given(data=st.data())
def test_stops_keep_to_any_profile(data: st.DataObject) -> None:
    narrow = HardLimits(
        speed_mps=data.draw(st.floats(1, 60)),
        accel_min_mps2=data.draw(st.floats(-9.8, -5)),
        accel_max_mps2=data.draw(st.floats(0.5, 9.8)),
        friction=data.draw(st.floats(0.1, 1.225)),
        curvature_per_m=data.draw(st.floats(0.02, 0.5)),
        steer_rad=data.draw(st.floats(0.1, 1.0)),
    )
    profile = VehicleProfile(hard=narrow, wheelbase_m=data.draw(st.floats(1, 10)))
    ego = data.draw(hostile.egos)
    for brake in (profile.comfort_brake, profile.lane_stop, Brake(decel_mps2=4.9, jerk_mps3=20.0)):
        assert [c.name for c in hard(arc_stop(ego, brake, profile), profile) if not c.ok] == []
