"""Labels on scenes small enough to label by hand, and their symmetry."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotics.driving.labels import (
    Labeller,
    Others,
    conflict_times,
    current_speed,
    heading_change,
    lead_of,
    longitudinal,
    navigation_command,
)
from robotics.driving.scene import Scene, Track
from robotics.driving.windows import mirror, window_at

T = (np.arange(71) - 20) * 0.1


def track(track_id: int, xy, yaw=0.0, first: int = 0, length: float = 4.0) -> Track:
    """71 steps; the recorded speed is that of the positions."""
    xy = np.broadcast_to(np.asarray(xy, np.float32), (71, 2))
    speed = np.linalg.norm(np.gradient(xy, 0.1, axis=0), axis=1).astype(np.float32)
    return Track(track_id, first, xy, np.broadcast_to(np.float32(yaw), (71,)), speed, length, 2.0)


def straight(track_id: int, x: float, y: float, v: float, accel: float = 0.0, **kw) -> Track:
    s = v * T + 0.5 * accel * T**2
    stopped = np.maximum.accumulate(s) if accel < 0 else s  # brakes to a stop, then stays
    return track(track_id, np.stack([x + stopped, np.full(71, y)], 1), **kw)


def arc(track_id: int, v: float, degrees: float) -> Track:
    """Straight until now, then a turn by `degrees` over 5 s."""
    yaw = np.deg2rad(degrees) * np.clip(T / 5, 0, 1)
    step = v * 0.1 * np.stack([np.cos(yaw), np.sin(yaw)], 1)
    return track(track_id, np.cumsum(step, axis=0), yaw)


LINES = [(np.array([[-100, y], [300, y]], np.float32)) for y in (5.4, 1.8, -1.8, -5.4)]
LANES = tuple(pairwise(LINES))


def scene(*tracks: Track) -> Scene:
    return Scene("hand", "test", LANES, {t.track_id: t for t in tracks})


def label(*tracks: Track):
    s = scene(*tracks)
    return Labeller(s).label(window_at(s, tracks[0].track_id, 20))


@pytest.mark.parametrize(
    ("others", "text", "critical"),
    [
        ([], "road ahead is free", set()),
        ([(27.0, 0.0, 8.0)], "lead 23 m ahead at 08 m/s", {"nearby_vehicle"}),
        ([(27.9, 0.5, 10.0), (40.0, 0.0, 9.0)], "lead 23 m ahead at 10 m/s", {"nearby_vehicle"}),
        ([(50.0, 0.0, 10.0)], "lead 46 m ahead at 10 m/s", set()),
        ([(70.0, 0.0, 10.0)], "road ahead is free", set()),
        ([(20.0, 3.6, 10.0)], "road ahead is free", {"nearby_vehicle"}),
        ([(24.0, 0.0, 2.0)], "lead 20 m ahead at 02 m/s; closing in 2 s", {"nearby_vehicle", "conflicting_vehicle"}),
    ],
)
def test_what_stands_ahead(others, text, critical) -> None:
    got = label(straight(1, 0, 0, 10.0), *(straight(n + 2, *o) for n, o in enumerate(others)))
    assert (got.explanation, got.critical_objects) == (text, critical)


def test_standing() -> None:
    ego = track(1, np.stack([np.maximum(T - 1, 0) * 3, 0 * T], 1))  # starts in a second
    assert label(ego, straight(2, 10.5, 0, 0)).explanation == "stopped behind lead 06 m"
    assert label(ego).explanation == "standing, road ahead is free"


def test_a_braking_lead_is_said_and_its_future_is_not() -> None:
    ego = straight(1, 0, 0, 10.0)
    assert label(ego, straight(2, 40, 0, 10.0, accel=-2.0)).explanation.endswith("braking")
    later = np.where(T > 0, 40 + 10 * T - T**2, 40 + 10 * T)
    assert label(ego, track(2, np.stack([later, 0 * T], 1))).explanation == "lead 36 m ahead at 10 m/s"


def test_a_crossing_vehicle_conflicts() -> None:
    crossing = track(2, np.stack([np.full(71, 30.0), -30 + 10 * T], 1), yaw=np.pi / 2)
    got = label(straight(1, 0, 0, 10.0), crossing)
    assert got.explanation == "road ahead is free; conflict right in 2 s"
    assert got.critical_objects == {"conflicting_vehicle"}


def test_explanations_are_short() -> None:
    crossing = track(3, np.stack([np.full(71, 30.0), 30 - 12 * T], 1), yaw=-np.pi / 2)
    text = label(straight(1, 0, 0, 10.0), straight(2, 27, 0, 11.0, accel=-2), crossing).explanation
    assert text == "lead 23 m ahead at 11 m/s, braking; conflict left in 2 s"
    assert (
        len(text.replace("/", " / ").replace(",", " ,").replace(";", " ;").replace("23", "2 3").replace("11", "1 1").split()) <= 20
    )


@pytest.mark.parametrize(
    ("v", "accel", "want"),
    [
        (10, 0, "keep speed"),
        (10, 0.29, "keep speed"),
        (10, 0.4, "accelerate"),
        (10, -0.29, "keep speed"),
        (10, -0.4, "decelerate"),
        (6, -2, "stop"),
        (1.5, 0.08, "keep speed"),  # 27 %, but below the floor of 0.5 m/s
        (1.5, 0.2, "accelerate"),
    ],
)
def test_longitudinal(v, accel, want) -> None:
    assert longitudinal(window_at(scene(straight(1, 0, 0, v, accel)), 1, 20)) == want


@pytest.mark.parametrize(
    ("degrees", "lateral", "command"),
    [
        (0, "go straight", "GO_STRAIGHT"),
        (60, "turn left", "GO_LEFT"),
        (-60, "turn right", "GO_RIGHT"),
        (8, "go straight", "GO_STRAIGHT"),
    ],
)
def test_turns(degrees, lateral, command) -> None:
    s = Scene("hand", "test", (), {1: arc(1, 8.0, degrees)})
    w = window_at(s, 1, 20)
    assert Labeller(s).lateral(w) == lateral
    assert navigation_command(w) == command


def test_the_heading_of_a_standing_vehicle_is_noise() -> None:
    spin = track(1, np.zeros(2), yaw=np.linspace(0, 2, 71))
    assert heading_change(window_at(scene(spin), 1, 20)) == 0


@pytest.mark.parametrize(
    ("shift", "want"), [(3.6, "change lane left"), (-3.6, "change lane right"), (1.0, "go straight"), (2.0, "go straight")]
)
def test_lane_changes_are_crossed_bounds(shift, want) -> None:
    """2 m sideways is over the line, but not clearly: the end must lie 0.6 m beyond it."""
    y = shift / (1 + np.exp(-1.6 * (T - 2)))
    slope = np.arctan(np.gradient(y, 0.1) / 10)
    assert label(track(1, np.stack([10 * T, y], 1), slope)).lateral == want


scenes = st.builds(
    lambda ego, rest: scene(arc(1, *ego), *(straight(n + 2, *o) for n, o in enumerate(rest))),
    st.tuples(st.floats(1, 15), st.floats(-90, 90)),
    st.lists(st.tuples(st.floats(-40, 80), st.floats(-8, 8), st.floats(0, 15)), max_size=6),
)


@given(scenes)
def test_a_mirrored_scene_has_mirrored_labels(s) -> None:
    other = mirror(s)
    a, b = (Labeller(x).label(window_at(x, 1, 20)) for x in (s, other))
    swap = {"left": "right", "right": "left"}

    def swapped(text: str) -> str:
        return " ".join(swap.get(word, word) for word in text.split())

    assert (a.critical_objects, a.longitudinal) == (b.critical_objects, b.longitudinal)
    assert (swapped(a.explanation), swapped(a.lateral)) == (b.explanation, b.lateral)
    commands = {navigation_command(window_at(x, 1, 20)) for x in (s, other)}
    assert commands in ({"GO_STRAIGHT"}, {"GO_LEFT", "GO_RIGHT"})


box = st.tuples(st.floats(-30, 60), st.floats(-20, 20), st.floats(-np.pi, np.pi), st.floats(0, 20))


@given(st.lists(box, min_size=1, max_size=4), st.floats(0, 20))
def test_conflicts_agree_with_a_search_over_points(boxes, ego_speed) -> None:
    """Slow twin: boxes meet where a grid of points of one lies inside the other, up to the spacing of the grid."""
    a = np.array(boxes)
    others = Others(a[:, :2], a[:, 2], a[:, 3], np.tile([4.0, 2.0], (len(a), 1)), np.arange(len(a)))
    got = conflict_times(others, (4.0, 2.0), ego_speed)
    gx, gy = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 21))

    def meets(i: int, t: float, scale: float) -> bool:
        c, s = np.cos(a[i, 2]), np.sin(a[i, 2])
        x = gx * 2.0 * scale, gy * 1.0 * scale
        px = a[i, 0] + (a[i, 3] * c - ego_speed) * t + c * x[0] - s * x[1]
        py = a[i, 1] + a[i, 3] * s * t + s * x[0] + c * x[1]
        return bool(((np.abs(px) <= 2.0 * scale) & (np.abs(py) <= 1.0 * scale)).any())

    for i, when in enumerate(got):
        before = np.arange(0, 5.01, 0.1)
        before = before[before < when - 0.05]
        assert not any(meets(i, t, 0.95) for t in before)
        if np.isfinite(when):
            assert meets(i, float(when), 1.1)


def test_lead_ignores_oncoming_and_far_vehicles() -> None:
    a = np.array([[20.0, 0.0, np.pi], [70.0, 0.0, 0.0], [-5.0, 0.0, 0.0], [30.0, 2.5, 0.0]])
    others = Others(a[:, :2], a[:, 2], np.zeros(4), np.ones((4, 2)), np.arange(4))
    assert lead_of(others) is None


def test_current_speed_uses_the_past_alone() -> None:
    assert current_speed(window_at(scene(straight(1, 0, 0, 10, accel=2)), 1, 20)) == pytest.approx(9.8, abs=0.01)
