"""CommonRoad files of both versions read back, on clocks that are not the planner's, and broken ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotics.driving.damage import Damage
from robotics.driving.data.commonroad import scenes
from robotics.driving.labels import Labeller
from robotics.driving.scene import Scene
from robotics.driving.windows import windows
from tests.robotics.driving.data.made_commonroad import STEPS, text, write

CASES = 40 if os.environ.get("EDGE_CASES") == "small" else 500


def read(path: Path) -> tuple[Scene | None, list[str]]:
    found = list(scenes(path))
    return next((s for s in found if isinstance(s, Scene)), None), [str(d) for d in found if isinstance(d, Damage)]


@pytest.mark.parametrize("version", ["2018b", "2020a"])
def test_both_versions(tmp_path: Path, version: str) -> None:
    scene, told = read(write(tmp_path / "a.xml", version=version))
    assert told == []
    assert scene is not None
    assert (scene.name, scene.source, scene.dt_s) == ("SITE_Road-1_1_T-1", "SITE_Road", 0.1)
    np.testing.assert_array_equal(scene.lanes[0][0], [(-20, 1.75), (50, 1.75), (200, 1.75)])
    assert {k: (t.kind, len(t), round(t.length_m, 2), round(t.width_m, 2)) for k, t in scene.tracks.items()} == {
        11: ("vehicle", STEPS, 4.5, 1.8),
        12: ("pedestrian", STEPS, 0.8, 0.8),
        13: ("vehicle", STEPS, 4.5, 1.8),  # parked: one state in the file, there all the time
    }
    np.testing.assert_allclose(scene.tracks[11].xy[:, 0], 0.9 * np.arange(STEPS), atol=1e-5)
    np.testing.assert_array_equal(scene.tracks[13].xy[-1], [40, -5])
    found = list(windows(scene))
    assert [(w.track_id, w.step) for w in found] == [(11, 20), (11, 25)]  # the walker drives nothing, the truck stands
    assert "pedestrian" in Labeller(scene).label(found[0]).critical_objects


@pytest.mark.parametrize("dt", [0.04, 0.2, 0.5])
def test_other_time_steps(tmp_path: Path, dt: float) -> None:
    """Straight motion at constant speed is the same on every clock."""
    scene, told = read(write(tmp_path / "a.xml", dt=dt))
    assert told == []
    assert scene is not None
    track = scene.tracks[11]
    assert track.first == 0
    assert len(track) == int((STEPS - 1) * dt / 0.1 + 1e-6) + 1
    np.testing.assert_allclose(track.xy[:, 0], 0.9 * np.arange(len(track)), atol=1e-4)
    np.testing.assert_allclose(track.speed, 9.0, atol=1e-5)


def obstacle(body: str, number: str = "50") -> str:
    return f'<dynamicObstacle id="{number}"><type>car</type>{body}</dynamicObstacle>'


SHAPE = "<shape><rectangle><length>4</length><width>2</width></rectangle></shape>"
POSITION = "<position><point><x>1</x><y>2</y></point></position>"
REST = "<orientation><exact>0</exact></orientation><time><exact>0</exact></time>"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (SHAPE, "obstacle has no state"),
        (f"<initialState>{POSITION}{REST}</initialState>", "obstacle has no shape"),
        (f"<shape><polygon/></shape><initialState>{POSITION}{REST}</initialState>", "neither rectangle nor circle"),
        (f"{SHAPE}<initialState>{REST}</initialState>", "no position/point"),
        (f"{SHAPE}<initialState>{POSITION}<time><exact>0</exact></time></initialState>", "no orientation"),
        (f"{SHAPE}<initialState>{POSITION.replace('1', 'nan')}{REST}</initialState>", "x is 'nan'"),
        (
            f"{SHAPE}<initialState>{POSITION}{REST}</initialState><trajectory><state>{POSITION}{REST}</state></trajectory>",
            "in time",
        ),
        (
            f"{SHAPE}<initialState>{POSITION}{REST}</initialState><trajectory><state>{POSITION}"
            f"{REST.replace('<time><exact>0', '<time><exact>4')}</state></trajectory>",
            "skips a step: after 0",
        ),
    ],
)
def test_a_broken_obstacle_is_named_and_left_out(tmp_path: Path, body: str, says: str) -> None:
    scene, (told,) = read(write(tmp_path / "a.xml", extra=obstacle(body)))
    assert told.startswith("a.xml: dynamicObstacle 50: ")
    assert says in told
    assert scene is not None
    assert set(scene.tracks) == {11, 12, 13}


def test_buildings_are_no_vehicles(tmp_path: Path) -> None:
    beside = "<staticObstacle id='51'><type>building</type><shape><polygon/></shape></staticObstacle>"
    scene, told = read(write(tmp_path / "a.xml", extra=beside))
    assert told == []
    assert scene is not None
    assert set(scene.tracks) == {11, 12, 13}


def test_intervals_and_double_ids(tmp_path: Path) -> None:
    interval = REST.replace("<exact>0</exact>", "<intervalStart>0.2</intervalStart><intervalEnd>0.4</intervalEnd>", 1)
    scene, told = read(write(tmp_path / "a.xml", extra=obstacle(f"{SHAPE}<initialState>{POSITION}{interval}</initialState>")))
    assert told == []
    assert scene is not None
    assert scene.tracks[50].yaw[0] == pytest.approx(0.3)
    _, (told,) = read(write(tmp_path / "b.xml", extra=obstacle(f"{SHAPE}<initialState>{POSITION}{REST}</initialState>", "11")))
    assert "dynamicObstacle 11" in told
    assert "id is taken" in told


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not readable as XML"),
        (text()[:900], "not readable as XML"),
        ("<osm/>", "not a CommonRoad scenario"),
        (text().replace("2020a", "2030z"), "of version 2030z"),
        (text().replace('timeStepSize="0.1"', 'timeStepSize="0"'), "timeStepSize must be"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: str, says: str) -> None:
    scene, (told,) = read(write(tmp_path / "a.xml", content))
    assert scene is None
    assert says in told
    assert "cannot" in str(next(iter(scenes(tmp_path)))) or "not readable" in str(next(iter(scenes(tmp_path))))


@settings(deadline=None, max_examples=CASES)
@given(st.integers(0, 2**32), st.integers(1, 20))
def test_garbled_files_raise_nothing(tmp_path_factory: pytest.TempPathFactory, seed: int, changes: int) -> None:
    rng = np.random.default_rng(seed)
    raw = bytearray(text().encode())
    for at in rng.integers(0, len(raw), changes):
        raw[at] = int(rng.choice(list(b'0123456789.-<>/"ax ')))
    path = tmp_path_factory.getbasetemp() / "garbled.xml"
    path.write_bytes(raw)
    scene, told = read(path)
    assert scene is not None or told
    for track in scene.tracks.values() if scene else ():
        assert np.isfinite(track.xy).all()
        assert len(track.xy) == len(track.yaw) == len(track.speed)
