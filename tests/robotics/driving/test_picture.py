"""The figure of a plan: it is written, it shows what it should, and bad plans are refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.core.errors import InputError
from robotics.driving.figure_drawn import DRIVEN, PLAN_COLOURS
from robotics.driving.picture import draw_own, draw_plan
from robotics.driving.prompt import history_of
from robotics.driving.scene import Scene, Track, Window
from robotics.driving.windows import window_at


def window(speed: float = 8.0) -> Window:
    t = np.arange(80) * 0.1

    def along(k: int, x: float, y: float, v: float) -> Track:
        xy = np.stack([x + v * t, np.full(80, y)], axis=1).astype(np.float32)
        return Track(k, 0, xy, np.zeros(80, np.float32), np.full(80, v, np.float32), 4.5, 1.8)

    x = np.array([-20.0, 50.0, 160.0], dtype=np.float32)
    bounds = [np.stack([x, np.full(3, y, np.float32)], axis=1) for y in (5.25, 1.75, -1.75)]
    tracks = {0: along(0, 0, 0, speed), 1: along(1, 20, 3.5, 6.0)}
    return window_at(Scene("made", "made", tuple(pairwise(bounds)), tracks), 0, 22)


def straight(speed: float, y: float = 0.0) -> np.ndarray:
    return np.stack([speed * np.arange(1, 6), np.full(5, y)], axis=1)


def share(path: Path, colour: str) -> float:
    """Share of pixels near a colour."""
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    return float((np.abs(np.asarray(Image.open(path).convert("RGB")).astype(int) - rgb).max(axis=2) < 12).mean())


def test_it_draws_every_plan(tmp_path: Path) -> None:
    one = draw_plan(window(), straight(8.0), tmp_path / "one.png", title="one")
    two = draw_plan(window(), {"a": straight(8.0), "b": straight(6.0, 1.0)}, tmp_path / "two.png")
    assert one == tmp_path / "one.png"
    assert Image.open(one).size == Image.open(two).size
    assert share(one, PLAN_COLOURS[0]) > 1e-4
    assert share(one, PLAN_COLOURS[1]) == 0
    assert share(two, PLAN_COLOURS[1]) > 1e-4


def test_no_plan_at_all_and_own_images(tmp_path: Path) -> None:
    images = np.zeros((3, 112, 112, 3), np.uint8)
    images[..., 1] = 255
    path = draw_plan(window(), {}, tmp_path / "x.png", images=images)
    assert share(path, "#00ff00") > 0.15


def test_images_of_ones_own_without_a_scene(tmp_path: Path) -> None:
    """The images, the plan and the history are there; no road, no other vehicle and no future is made up."""
    images = [np.full((60 + 20 * k, 100, 3), (255, 0, 255), np.uint8) for k in range(3)]
    scene = draw_plan(window(), straight(8.0), tmp_path / "scene.png")
    own = draw_own(history_of(window()), images, straight(8.0), tmp_path / "own.png")
    assert share(own, "#ff00ff") > 0.1
    assert share(own, PLAN_COLOURS[0]) > 1e-4
    assert share(own, DRIVEN) == 0 < share(scene, DRIVEN)
    assert share(own, "#cfd4da") < 0.005 < share(scene, "#cfd4da")  # the tone of the road; frames are of one that is near it


def test_standing_and_turning_round_can_be_drawn(tmp_path: Path) -> None:
    draw_plan(window(0.0), np.zeros((5, 2)), tmp_path / "stand.png")
    back = np.stack([-np.arange(1.0, 6), np.arange(1.0, 6) * 3], axis=1)
    draw_plan(window(), back, tmp_path / "back.png")
    draw_plan(window(40.0), straight(60.0), tmp_path / "fast.png")


@pytest.mark.parametrize("bad", [np.zeros((4, 2)), np.zeros((5, 3)), np.full((5, 2), np.nan), np.array(1.0)])
def test_bad_plans(tmp_path: Path, bad: np.ndarray) -> None:
    with pytest.raises(InputError, match="plan 'plan': needs finite waypoints"):
        draw_plan(window(), bad, tmp_path / "x.png")


def test_unwritable_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write the picture"):
        draw_plan(window(), straight(8.0), tmp_path / "absent" / "x.png")
