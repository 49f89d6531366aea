"""The recorded-traffic reader and the windows cut from scenes: on a small file written here, and on the real one if it is there."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edge.core.errors import InputError, UnknownNameError
from robotics.driving.recorded import load_recorded
from robotics.driving.scene import FUTURE_STEPS, HISTORY_STEPS, Scene, Track
from robotics.driving.windows import mirror, window_at, windows

NAME = "SITE_Road-1_1_T-1"


def arrays(steps: int = 91, speed: float = 8.0) -> dict[str, np.ndarray]:
    """Two lanes and three tracks: one that drives straight, one that starts later and stands, one that is too short."""
    left, middle, right = (np.array([(0.0, y), (50.0, y), (200.0, y)]) for y in (3.5, 0.0, -3.5))
    t = np.arange(steps) * 0.1
    moving = np.stack([speed * t, np.full(steps, 1.75), np.zeros(steps), np.full(steps, speed)], axis=1)
    parked = np.tile([60.0, -1.75, 0.1, 0.0], (80, 1))
    short = np.tile([90.0, -1.75, 0.1, 9.0], (12, 1))
    spans = ((0, steps, 0), (1, 80, 7), (2, 12, 3))
    idx = [np.stack([np.full(n, k), np.arange(first, first + n)], axis=1) for k, n, first in spans]
    return {
        "names": np.array([NAME, "SITE_Road-2_1_T-1"]),
        "split": np.array(["train", "val"]),
        f"{NAME}/lane_pts": np.concatenate([left, middle, middle, right]).astype(np.float32),
        f"{NAME}/lane_len": np.array([[3, 3], [3, 3]], dtype=np.int16),
        f"{NAME}/state": np.concatenate([moving, parked, short]).astype(np.float32),
        f"{NAME}/idx": np.concatenate(idx).astype(np.int16),
        f"{NAME}/dims": np.array([[4.5, 1.8], [5.0, 2.0], [4.0, 1.7]], dtype=np.float32),
    }


def write(path: Path, content: dict[str, np.ndarray]) -> Path:
    np.savez_compressed(path, **content)  # pyright: ignore[reportArgumentType]
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "traffic.npz", arrays())


def refused(path: Path, *parts: str) -> None:
    """Opening the file and reading its scene raises InputError in one line that contains `parts`."""
    with pytest.raises(InputError) as error:
        load_recorded(path).scene(NAME)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    for part in (str(path), *parts):
        assert part in text, text


# --- reading ----------------------------------------------------------------------------------------------------------------


def test_reads_back_what_was_written(file: Path) -> None:
    recorded = load_recorded(file)
    assert recorded.names() == (NAME, "SITE_Road-2_1_T-1")
    assert recorded.names("train") == (NAME,)
    scene = recorded.scene(NAME)
    assert (scene.name, scene.source, scene.dt_s) == (NAME, "SITE_Road", 0.1)
    assert len(scene.lanes) == 2
    np.testing.assert_array_equal(scene.lanes[1][0], np.array([(0, 0), (50, 0), (200, 0)], dtype=np.float32))
    assert {k: (t.first, len(t)) for k, t in scene.tracks.items()} == {0: (0, 91), 1: (7, 80), 2: (3, 12)}
    track = scene.tracks[0]
    assert track.state(10) == pytest.approx((8.0, 1.75, 0.0, 8.0))
    assert (track.length_m, track.width_m) == pytest.approx((4.5, 1.8))


def test_rows_may_come_in_any_order(tmp_path: Path, file: Path) -> None:
    content = arrays()
    order = np.random.default_rng(0).permutation(len(content[f"{NAME}/idx"]))
    for key in ("state", "idx"):
        content[f"{NAME}/{key}"] = content[f"{NAME}/{key}"][order]
    shuffled = load_recorded(write(tmp_path / "shuffled.npz", content)).scene(NAME)
    for k, track in load_recorded(file).scene(NAME).tracks.items():
        np.testing.assert_array_equal(shuffled.tracks[k].xy, track.xy)


def test_unknown_names_get_a_suggestion(file: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        load_recorded(file).names("trian")
    with pytest.raises(UnknownNameError, match=re.escape(NAME)):
        load_recorded(file).scene(NAME[:-1])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file.*EDGE_DATA"):
        load_recorded(tmp_path / "absent.npz")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_truncated_file(file: Path, share: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    refused(file, "cut short")


def test_damaged_member(file: Path) -> None:
    """The table of contents is whole, an array inside is not."""
    data = bytearray(file.read_bytes())
    at = data.index(f"{NAME}/state.npy".encode()) + 120
    data[at : at + 40] = bytes(40)
    file.write_bytes(bytes(data))
    refused(file, "broken inside")


@pytest.mark.parametrize("content", [b"not a zip", b"PK\x03\x04" + bytes(50), b"\x80\x04N."])
def test_foreign_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    refused(path, "not an npz file")


def test_single_array(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with path.open("wb") as f:
        np.save(f, np.zeros(3))
    refused(path, "single npy array")


def test_pickles_are_refused(tmp_path: Path) -> None:
    content = arrays()
    content[f"{NAME}/dims"] = np.array([{"a": 1}, None, 2], dtype=object)
    refused(write(tmp_path / "x.npz", content), "broken inside", "allow_pickle")


@pytest.mark.parametrize("key", ["names", "split"])
def test_missing_table(tmp_path: Path, key: str) -> None:
    content = arrays()
    del content[key]
    refused(write(tmp_path / "x.npz", content), key, "missing")


@pytest.mark.parametrize("key", ["lane_pts", "lane_len", "state", "idx", "dims"])
def test_missing_key(tmp_path: Path, key: str) -> None:
    content = arrays()
    del content[f"{NAME}/{key}"]
    refused(write(tmp_path / "x.npz", content), f"{NAME}/{key}", "missing")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("state", np.nan, "state must be finite, row 5 (1 in all)"),
        ("state", np.inf, "state must be finite"),
        ("dims", np.nan, None),
        ("lane_pts", np.nan, "lane_pts must be finite"),
    ],
)
def test_numbers_that_are_not_finite(tmp_path: Path, key: str, value: float, says: str | None) -> None:
    content = arrays()
    content[f"{NAME}/{key}"][min(5, len(content[f"{NAME}/{key}"]) - 1), 1] = value
    refused(write(tmp_path / "x.npz", content), NAME, says or f"{key} must be finite")


def test_wrong_shapes_and_indices(tmp_path: Path) -> None:
    def broken(change: dict[str, np.ndarray]) -> Path:
        return write(tmp_path / "x.npz", arrays() | {f"{NAME}/{k}": v for k, v in change.items()})

    good = {k.partition("/")[2]: v for k, v in arrays().items() if "/" in k}
    refused(broken({"state": good["state"][:, :3]}), "state must be numbers [n, 4], got [183, 3]")
    refused(broken({"state": good["state"][:-1]}), "one row per sample")
    refused(broken({"dims": good["dims"][:2]}), "idx may name the 2 tracks", "it names 2")
    refused(broken({"lane_len": good["lane_len"] + 1}), "sum to the 12 of lane_pts")
    refused(broken({"lane_len": np.array([[1, 5], [3, 3]])}), "at least 2 points")
    refused(broken({"idx": np.where(good["idx"] == 40, 41, good["idx"])}), "track 0", "consecutive")


# --- windows ----------------------------------------------------------------------------------------------------------------


def scene_of(*tracks: Track) -> Scene:
    lanes = ((np.array([(0, 2), (99, 2)], np.float32), np.array([(0, -2), (99, -2)], np.float32)),)
    return Scene("made", "made", lanes, {t.track_id: t for t in tracks})


def arc(track_id: int = 1, first: int = 0, steps: int = 100, speed: float = 6.0, rate: float = 0.1) -> Track:
    """Constant speed and turn rate, rad/s."""
    t = np.arange(steps) * 0.1
    yaw = 0.3 + rate * t
    xy = np.stack([np.sin(yaw) - np.sin(0.3), np.cos(0.3) - np.cos(yaw)], axis=1) * speed / rate
    return Track(track_id, first, xy.astype(np.float32), yaw.astype(np.float32), np.full(steps, speed, np.float32), 4.5, 1.8)


def test_windows_of_the_small_file(file: Path) -> None:
    """91 steps give t = 20, 25, .. 40; the standing and the short track give none."""
    found = list(windows(load_recorded(file).scene(NAME)))
    assert [(w.track_id, w.step) for w in found] == [(0, s) for s in (20, 25, 30, 35, 40)]
    w = found[0]
    np.testing.assert_allclose(w.history, np.stack([np.arange(-20, 1) * 0.8, np.zeros(21)], axis=1), atol=1e-5)
    np.testing.assert_allclose(w.future, np.stack([np.arange(1, 51) * 0.8, np.zeros(50)], axis=1), atol=1e-5)
    assert w.name == f"{NAME}:0:20"


def test_ego_frame_of_a_left_turn() -> None:
    """Closed form: on a circle of radius R to the left, the future is (R sin a, R (1 - cos a))."""
    w = window_at(scene_of(arc()), 1, 30)
    angle = 0.01 * np.arange(1, FUTURE_STEPS + 1)
    expected = 60.0 * np.stack([np.sin(angle), 1 - np.cos(angle)], axis=1)
    np.testing.assert_allclose(w.future, expected, atol=2e-4)
    np.testing.assert_allclose(w.future_yaw, angle, atol=1e-5)
    np.testing.assert_allclose(w.history_yaw, -0.01 * np.arange(HISTORY_STEPS, -1, -1), atol=1e-5)
    np.testing.assert_array_equal(w.history[-1], 0)
    assert w.history.shape == (21, 2)


def test_stride_and_least_move() -> None:
    scene = scene_of(arc(speed=0.7, first=4))  # 4.9 m in 7 s
    assert list(windows(scene)) == []
    steps = [w.step for w in windows(scene, stride_steps=7, min_move_m=4.0)]
    assert steps == [24, 31, 38, 45, 52]
    with pytest.raises(InputError, match="stride"):
        list(windows(scene, stride_steps=0))


def test_window_at_says_what_is_possible() -> None:
    scene = scene_of(arc(first=4), arc(2, steps=30))
    assert window_at(scene, 1, 24).step == 24
    assert window_at(scene, 1, 53).step == 53
    for step in (23, 54, -1):
        with pytest.raises(InputError, match=r"made: track 1 at step .* choose a step from 24 to 53"):
            window_at(scene, 1, step)
    with pytest.raises(InputError, match="its 30 steps are too few"):
        window_at(scene, 2, 20)
    with pytest.raises(InputError, match="no track 9; choose one of 1, 2"):
        window_at(scene, 9, 20)


def test_mirror() -> None:
    scene = scene_of(arc(), arc(5, rate=-0.05))
    flipped = mirror(scene)
    assert list(flipped.tracks) == [1, 5]
    assert flipped.name != scene.name
    a, b = window_at(scene, 1, 40), window_at(flipped, 1, 40)
    np.testing.assert_allclose(b.future, a.future * (1, -1), atol=1e-5)
    np.testing.assert_allclose(b.history_yaw, -a.history_yaw, atol=1e-6)
    left, right = flipped.lanes[0]
    assert (left[0, 1], right[0, 1]) == (2, -2)  # what was right is left now
    twice = mirror(flipped)
    assert twice.name == scene.name
    np.testing.assert_array_equal(twice.tracks[5].xy, scene.tracks[5].xy)
    np.testing.assert_allclose(twice.tracks[5].yaw, scene.tracks[5].yaw, atol=1e-6)


# --- the real file ----------------------------------------------------------------------------------------------------------


def test_real_counts_and_baseline() -> None:
    """The published counts of windows, and the errors of constant velocity that come with them."""
    path = os.environ.get("EDGE_DATA")
    if not path:
        pytest.skip("EDGE_DATA is not set: the recorded traffic is not checked; set it to the npz file")
    recorded = load_recorded(path)
    assert (len(recorded.names("train")), len(recorded.names("val"))) == (61, 11)
    counts: Counter[str] = Counter()
    errors: dict[str, list[np.ndarray]] = {}
    for split in ("train", "val"):
        for name in recorded.names(split):
            scene = recorded.scene(name)
            for w in windows(scene):
                counts[split] += 1
                if split == "val":
                    counts[scene.source] += 1
                    v = (w.history[-1] - w.history[-6]) / 0.5
                    at = np.arange(1, 11) * 0.5
                    errors.setdefault(scene.source, []).append(np.linalg.norm(w.future[4::5] - v * at[:, None], axis=1))
    assert counts == {"train": 2253, "val": 732, "USA_US101": 539, "USA_Lanker": 193}
    assert np.mean(errors["USA_US101"]) == pytest.approx(2.67, abs=0.005)
    assert np.mean(errors["USA_Lanker"]) == pytest.approx(5.86, abs=0.005)
