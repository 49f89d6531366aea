"""Simulated scenes: reproducible, physical, on the road, and not solved by driving straight on."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache

import numpy as np
import pytest

import robotics.driving.simulate as module
from edge.core.errors import InputError, MissingExtraError, UnknownNameError
from robotics.driving.scene import Scene
from robotics.driving.simulate import KINDS, simulate
from robotics.driving.windows import windows

URBAN = ("intersection", "roundabout")


@cache
def scene(kind: str) -> Scene:
    return simulate(11, kind, seconds=9.0)


@pytest.mark.parametrize("kind", KINDS)
def test_tracks_are_physical(kind: str) -> None:
    """Positions, headings and speeds agree with one another, and nothing jumps."""
    s = scene(kind)
    assert len(s.tracks) >= 5
    for k, t in s.tracks.items():
        assert t.track_id == k
        assert t.covers(t.first, t.first + len(t))
        assert np.isfinite(t.xy).all()
        assert (t.speed > -0.1).all()
        assert (t.speed < 45).all()
        assert np.abs(np.diff(t.speed)).max() / s.dt_s < 9.0
        turn = np.diff(np.unwrap(t.yaw)) / s.dt_s
        assert np.abs(turn).max() < 1.5
        # The reference point moves where the heading points, but for the slip of a turning vehicle.
        step = np.diff(t.xy, axis=0) / s.dt_s
        middle = t.yaw[:-1] + np.diff(np.unwrap(t.yaw)) / 2
        along = step[:, 0] * np.cos(middle) + step[:, 1] * np.sin(middle)
        across = -step[:, 0] * np.sin(middle) + step[:, 1] * np.cos(middle)
        assert np.abs(along - (t.speed[:-1] + t.speed[1:]) / 2).max() < 1.5
        assert (np.abs(across) < 0.3 + 0.45 * np.abs(along)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_vehicles_are_on_the_road_and_apart(kind: str) -> None:
    s = scene(kind)
    middles = np.concatenate([(left + right) / 2 for left, right in s.lanes])
    for step in range(0, 90, 15):
        here = [t for t in s.tracks.values() if t.covers(step, step + 1)]
        xy = np.array([t.state(step)[:2] for t in here])
        assert np.linalg.norm(xy[:, None] - middles[None], axis=2).min(axis=1).max() < 4.0
        gaps = np.linalg.norm(xy[:, None] - xy[None], axis=2) + 1e9 * np.eye(len(xy))
        assert gaps.min() > 1.7


@pytest.mark.parametrize("kind", KINDS)
def test_left_bounds_are_left(kind: str) -> None:
    """In the scene's right-handed frame, which the simulator's is not."""
    for left, right in scene(kind).lanes:
        along = np.diff((left + right) / 2, axis=0)
        across = (left - right)[:-1]
        assert (along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0] > 0).all()


def test_traffic_keeps_right() -> None:
    """A vehicle on a two-way arm has the oncoming lanes on its left."""
    s = scene("intersection")
    for t in s.tracks.values():
        x, y, yaw, speed = t.state(t.first)
        if speed < 1:
            continue
        for left, right in s.lanes:
            middle = (left + right) / 2
            way = middle[-1] - middle[0]
            oncoming = way @ (np.cos(yaw), np.sin(yaw)) < -0.98 * np.linalg.norm(way)
            at = middle[np.linalg.norm(middle - (x, y), axis=1).argmin()] - (x, y)
            if oncoming and np.linalg.norm(at) < 4.5:
                assert np.cos(yaw) * at[1] - np.sin(yaw) * at[0] > 0


def test_same_arguments_same_scene() -> None:
    a, b = simulate(5, seconds=7.2), simulate(5, seconds=7.2)
    assert a.name == b.name
    assert list(a.tracks) == list(b.tracks)
    for k, t in a.tracks.items():
        np.testing.assert_array_equal(t.xy, b.tracks[k].xy)
    assert all((p[0] == q[0]).all() for p, q in zip(a.lanes, b.lanes, strict=True))
    c = simulate(6, seconds=7.2)
    assert c.source != a.source or not np.array_equal(c.tracks[0].xy, a.tracks[0].xy)


def test_names_and_kinds() -> None:
    s = scene("exit")
    assert (s.name, s.source) == ("sim-exit-11", "sim-exit")
    drawn = simulate(7, seconds=7.2)
    assert drawn.source.removeprefix("sim-") in KINDS
    assert drawn.name == f"{drawn.source}-7"


def test_driving_straight_on_is_not_enough() -> None:
    """Constant velocity misses by metres, more so in town, where many windows turn or stop."""
    errors: dict[str, list[float]] = {}
    turning = 0
    for kind in ("highway", "intersection", "roundabout"):
        for w in windows(scene(kind)):
            v = (w.history[-1] - w.history[-6]) / 0.5
            at = np.arange(1, 11) * 0.5
            error = np.linalg.norm(w.future[4::5] - v * at[:, None], axis=1).mean()
            errors.setdefault("town" if kind in URBAN else "highway", []).append(float(error))
            turning += abs(w.future_yaw[-1]) > 0.26
    assert np.mean(errors["highway"]) > 0.8
    assert np.mean(errors["town"]) > 2.5
    assert turning > 10


def test_bad_arguments() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'highway'"):
        simulate(0, "higway")
    with pytest.raises(InputError, match=r"use 7\.1 or more"):
        simulate(0, "jam", seconds=7.0)


def test_without_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the module without highway-env tells how to install it."""
    for name in [n for n in sys.modules if n.split(".")[0] == "highway_env"]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in [n for n in sys.modules if n.startswith("robotics.driving.sim.")]:
        monkeypatch.delitem(sys.modules, name)  # read anew: they import the simulator
    spec = importlib.util.spec_from_file_location("without_simulator", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(MissingExtraError, match=r"pip install 'edge-dvla\[sim\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
