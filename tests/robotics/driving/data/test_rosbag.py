"""Recordings of ROS 1 and 2 replayed into planner requests and scenes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed: recordings are not checked; pip install 'edge-dvla[robot]'")

from types import SimpleNamespace

from edge.cli.zoo import NANO_PLANNER
from edge.core.errors import InputError
from robotics.driving.damage import Damage
from robotics.driving.data.request import PlanRequest
from robotics.driving.data.ros_images import pixels
from robotics.driving.data.rosbag import requests, scenes
from robotics.driving.data.rosbag_index import Topics
from robotics.driving.planner import Planner
from robotics.driving.scene import Scene
from robotics.driving.windows import windows
from tests.robotics.driving.data.made_bag import ACCEL, SPEED, T0_NS, position, write

CASES = 15 if os.environ.get("EDGE_CASES") == "small" else 300


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("bag") / "drive")


def kept(found) -> list:
    return [f for f in found if not isinstance(f, Damage)]


@pytest.mark.parametrize(("kind", "raw"), [("mcap", True), ("sqlite3", False), ("bag", False)])
def test_every_kind_of_recording_gives_the_same(tmp_path: Path, bag: Path, kind: str, raw: bool) -> None:
    path = write(tmp_path / ("drive.bag" if kind == "bag" else "drive"), kind=kind, raw=raw)
    found, expected = kept(requests(path, stride_steps=10)), kept(requests(bag, stride_steps=10))
    assert [(r.name, r.history) for r in found] == [(r.name, r.history) for r in expected]
    assert [round(v / 50) for v in found[0].images((20, 20))[:, 10, 10, 0].tolist()] == [1, 2, 3]  # left, front, right


def test_a_single_mcap_file(bag: Path) -> None:
    (file,) = bag.glob("*.mcap")
    assert [r.stamp_ns for r in kept(requests(file, stride_steps=20))] == [r.stamp_ns for r in kept(requests(bag, stride_steps=20))]


def test_requests_at_every_front_picture(bag: Path) -> None:
    """From the first with 2 s of history to the last: at the end of a drive there is no future, and none is needed."""
    found = kept(requests(bag))
    assert [r.stamp_ns for r in found] == [T0_NS + n * 100_000_000 for n in range(20, 91)]
    r = found[10]
    assert isinstance(r, PlanRequest)
    t0 = 3.0
    np.testing.assert_allclose(r.history.xy()[:, 0], position(t0 - np.arange(4, -1, -1) * 0.5) - position(t0), atol=1e-4)
    np.testing.assert_allclose(r.history.xy()[:, 1], 0, atol=1e-4)  # x is forward whichever way the odometry frame lies
    assert r.history.points[-1].v_mps == pytest.approx(SPEED + ACCEL * (t0 - 0.1), abs=1e-3)
    assert r.history.motion()[0] == pytest.approx(ACCEL, abs=1e-2)
    assert r.command == "GO_STRAIGHT"


def test_a_request_goes_through_the_shipped_planner(bag: Path) -> None:
    planner = Planner.load(NANO_PLANNER)
    r = kept(requests(bag, stride_steps=60))[-1]
    plan = planner.plan(r.images(planner.config.image_size), r.history, r.command)
    assert plan.waypoints.shape == (5, 2)
    assert np.isfinite(plan.waypoints).all()
    assert plan.generation.lossless


def test_early_pictures_say_why_they_are_left_out(bag: Path) -> None:
    told = [str(d) for d in requests(bag) if isinstance(d, Damage)]
    assert len(told) == 20
    # The first picture has no odometry before it but the one of its own time.
    assert "no odometry within" in told[0]
    assert all("less than 2 s of history" in t for t in told[1:])


def test_windows_for_training(bag: Path) -> None:
    found = [w for s in scenes(bag) if isinstance(s, Scene) for w in windows(s)]
    assert len(found) == 5  # 2.0, 2.5, .. 4.0 s of 9 s
    np.testing.assert_allclose(found[0].future[:, 0], position(2 + np.arange(1, 51) * 0.1) - position(2.0), atol=2e-3)
    assert not found[0].scene.boxes


def test_requests_know_nothing_of_later_odometry(tmp_path: Path, bag: Path) -> None:
    cut = kept(requests(write(tmp_path / "short", seconds=4.0)))
    whole = {r.stamp_ns: r for r in kept(requests(bag))}
    assert all(r.history == whole[r.stamp_ns].history for r in cut)
    assert len(cut) == 21


def test_a_gap_in_the_odometry_is_not_bridged(tmp_path: Path) -> None:
    found = list(requests(write(tmp_path / "gap", skip_odometry=(3.0, 4.0))))
    stamps = [round((r.stamp_ns - T0_NS) * 1e-9, 1) for r in found if isinstance(r, PlanRequest)]
    assert stamps == [round(v, 1) for v in (*np.arange(2.0, 3.15, 0.1), *np.arange(6.0, 9.05, 0.1))]
    reasons = {d.rule for d in found if isinstance(d, Damage)}
    assert reasons == {"less than 2 s of history is recorded", "no odometry within 0.1 s before the picture"}


def test_topics(bag: Path) -> None:
    named = Topics(front="/sensing/camera/front_left/image")
    seen = kept(requests(bag, named, stride_steps=50))[0].images((8, 8))
    assert [round(v / 50) for v in seen[:, 4, 4, 0].tolist()] == [1, 1, 3]
    with pytest.raises(InputError, match=r"no topic /odom; it has /localization/odometry, /sensing"):
        list(requests(bag, Topics(odometry="/odom")))


def test_bags_that_are_none(tmp_path: Path) -> None:
    for name in ("a.mcap", "a.bag", "a.db3"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(InputError, match="not a readable bag"):
            list(scenes(tmp_path / name))
    with pytest.raises(InputError, match="not a readable bag"):
        list(scenes(tmp_path / "absent.mcap"))


def test_garbled_bags_raise_nothing_in_the_middle(tmp_path: Path, bag: Path) -> None:
    """Bytes changed or cut off anywhere: refused as a whole, or read with what is left and what is lost."""
    (file,) = bag.glob("*.mcap")
    content, rng = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for n in range(CASES):
        raw = bytearray(content)
        for at in rng.integers(0, len(raw), 4):
            raw[at] ^= 1 << int(rng.integers(8))
        path = tmp_path / f"{n}.mcap"
        path.write_bytes(raw[: int(rng.integers(len(raw)))] if n % 3 == 0 else raw)
        try:
            found = list(requests(path, stride_steps=10))
        except InputError:
            refused += 1
            continue
        for r in found:
            if isinstance(r, PlanRequest):
                with contextlib.suppress(InputError):  # and no other error, for a picture that is garbled
                    assert r.images((8, 8)).shape == (3, 8, 8, 3)
        path.unlink()
    assert refused < CASES


@pytest.mark.parametrize(
    ("encoding", "pixel", "rgb"),
    [("rgb8", [1, 2, 3], [1, 2, 3]), ("bgr8", [1, 2, 3], [3, 2, 1]), ("bgra8", [1, 2, 3, 9], [3, 2, 1]), ("mono8", [7], [7, 7, 7])],
)
def test_image_encodings(encoding: str, pixel: list[int], rgb: list[int]) -> None:
    m = SimpleNamespace(encoding=encoding, height=2, width=3, step=3 * len(pixel), data=np.array(pixel * 6, np.uint8))
    assert np.unique(pixels(m).reshape(-1, 3), axis=0).tolist() == [rgb]
    m.data = m.data[:-1]
    with pytest.raises(InputError, match="camera picture is broken"):
        pixels(m)
    m.encoding = "32FC1"
    with pytest.raises(InputError, match="encoding is not known: '32FC1'"):
        pixels(m)
