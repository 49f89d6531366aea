"""nuScenes folders written in the official layout and read back: frames of reference, boxes, futures, and broken tables."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.errors import InputError, UnknownNameError
from robotics.driving.damage import Damage
from robotics.driving.data.nuscenes import NuScenes
from robotics.driving.data.nuscenes_keyframes import Keyframe, future
from robotics.driving.labels import Labeller, command_of, lateral_by_path
from robotics.driving.scene import HISTORY_STEPS, Scene
from robotics.driving.windows import windows
from tests.robotics.driving.data import made_nuscenes as made
from tests.robotics.driving.data.made_nuscenes import RATE, SPEED

CASES = 40 if os.environ.get("EDGE_CASES") == "small" else 500


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> NuScenes:
    return NuScenes(made.write(tmp_path_factory.mktemp("nuscenes") / "root"))


def keyframes(data: NuScenes) -> list[Keyframe]:
    return [k for k in data.keyframes("scene-0001") if isinstance(k, Keyframe)]


def test_keyframes(data: NuScenes) -> None:
    found = keyframes(data)
    assert data.names() == ("scene-0001",)
    assert data.damaged == []
    assert [k.token for k in found] == [f"s{n}" for n in range(20)]
    assert np.diff([k.timestamp_us for k in found]).tolist() == [500_000] * 19
    k = found[3]
    np.testing.assert_allclose(k.ego, made.ego_pose(1.5), atol=1e-9)
    np.testing.assert_allclose(k.lidar, made.LIDAR_MOUNT, atol=1e-12)
    assert {b.instance: (b.category, b.kind, b.size_m) for b in k.boxes} == {
        "car": ("vehicle.car", "vehicle", (4.6, 1.9)),  # the set says width, length, height
        "walker": ("human.pedestrian.adult", "pedestrian", (4.6, 1.9)),
        "cone": ("movable_object.trafficcone", "construction", (4.6, 1.9)),
        "rack": ("static_object.bicycle_rack", None, (4.6, 1.9)),
    }


def circle(t: np.ndarray) -> np.ndarray:
    """Where the ego is after t s, in its own frame."""
    return SPEED / RATE * np.stack([np.sin(RATE * t), 1 - np.cos(RATE * t)], axis=1)


def test_future_in_both_frames(data: NuScenes) -> None:
    """3 s, six steps. Ego frame: x forward, y left. LiDAR frame: x right, y forward, and it is the LiDAR that is followed."""
    t = np.arange(1, 7) * 0.5
    np.testing.assert_allclose(future(keyframes(data), 4), circle(t), atol=1e-6)
    ahead = made.LIDAR_MOUNT[0]
    mounted = circle(t) + ahead * np.stack([np.cos(RATE * t), np.sin(RATE * t)], axis=1) - [ahead, 0]
    seen = future(keyframes(data), 4, frame="lidar")
    np.testing.assert_allclose(seen, np.stack([-mounted[:, 1], mounted[:, 0]], axis=1), atol=1e-6)
    assert (seen[:, 1] > 0).all()
    assert (seen[:, 0] < 0).all()
    assert len(future(keyframes(data), 17)) == 2


def test_scenes_at_keyframes(data: NuScenes) -> None:
    scenes = list(data.scenes("scene-0001"))
    assert all(isinstance(s, Scene) for s in scenes)
    found = [w for s in scenes if isinstance(s, Scene) for w in windows(s)]
    assert [w.name for w in found] == [f"scene-0001:{n:03d}" for n in range(4, 10)]  # 2 s before and 5 s after, of 9.5 s
    w = found[0]
    np.testing.assert_allclose(w.future, circle(np.arange(1, 51) * 0.1), atol=0.02)  # poses at 20 Hz, in straight lines between
    np.testing.assert_allclose(w.history, circle(np.arange(-20, 1) * 0.1), atol=0.02)
    np.testing.assert_allclose(w.future_yaw, RATE * np.arange(1, 51) * 0.1, atol=1e-4)
    assert command_of(w) == "GO_LEFT"
    assert len(list(data.scenes("scene-0001", stride_keyframes=4))) == 5


def test_boxes_around_and_what_they_make_critical(data: NuScenes) -> None:
    scene = [s for s in data.scenes("scene-0001") if isinstance(s, Scene)][6]
    assert sorted(t.kind for t in scene.tracks.values()) == ["construction", "pedestrian", "vehicle", "vehicle"]
    (w,) = windows(scene)
    labels = Labeller(scene).label(w)
    assert Labeller(scene).absent() == ()
    assert labels.critical_objects == {"nearby_vehicle", "pedestrian", "construction"}
    # 15 m between centres less half the lengths, 4.084 and 4.6 m.
    assert labels.explanation.startswith("lead 10 m ahead at 08 m/s")
    car = next(t for t in scene.tracks.values() if t.kind == "vehicle" and t.track_id != 0)
    x, y, _, _ = car.state(HISTORY_STEPS)
    ex, ey, _, _ = scene.tracks[0].state(HISTORY_STEPS)
    assert np.hypot(x - ex, y - ey) == pytest.approx(made.CAR_AHEAD_M, abs=1e-3)


def test_speeds_of_boxes_hold_nothing_of_the_future(data: NuScenes, tmp_path: Path) -> None:
    """The car of one set stops dead after keyframe 6; at keyframe 6 nothing tells."""
    rows = made.tables()
    for row in rows["sample_annotation"]:
        if row["instance_token"] == "car" and int(row["sample_token"][1:]) > 6:
            row["translation"] = next(r for r in rows["sample_annotation"] if r["token"] == "ann-car-6")["translation"]
    stopping = NuScenes(made.write(tmp_path / "root", rows))
    pairs = [[s for s in d.scenes("scene-0001") if isinstance(s, Scene)][6] for d in (data, stopping)]
    before, after = (next(t for t in s.tracks.values() if t.track_id != 0 and t.kind == "vehicle") for s in pairs)
    np.testing.assert_array_equal(before.speed[: HISTORY_STEPS + 1], after.speed[: HISTORY_STEPS + 1])
    assert after.speed[HISTORY_STEPS + 10] == pytest.approx(0, abs=1e-3)


def test_pictures(data: NuScenes) -> None:
    scene = next(s for s in data.scenes("scene-0001") if isinstance(s, Scene))
    assert scene.ego is not None
    assert [round(v / 50) for v in scene.ego.cameras.images((28, 28))[:, 14, 14, 0].tolist()] == [1, 2, 3]


def test_an_object_out_of_sight_for_a_second_is_two_tracks(tmp_path: Path) -> None:
    rows = made.tables()
    rows["sample_annotation"] = [r for r in rows["sample_annotation"] if r["token"] not in ("ann-car-7", "ann-car-8")]
    scene = [s for s in NuScenes(made.write(tmp_path / "r", rows)).scenes("scene-0001") if isinstance(s, Scene)][6]
    cars = [t for t in scene.tracks.values() if t.kind == "vehicle" and t.track_id != 0]
    assert [(t.first, t.first + len(t) - 1) for t in cars] == [(0, 20), (35, 70)]


def test_a_parked_bicycle_is_no_cyclist(tmp_path: Path) -> None:
    rows = made.tables(keyframes=2)
    rows["category"][0]["name"] = "vehicle.bicycle"
    rows["attribute"][0]["name"] = "cycle.with_rider"
    (first, _) = keyframes(NuScenes(made.write(tmp_path / "a", rows)))
    assert [b.kind for b in first.boxes if b.instance == "car"] == ["cyclist"]
    rows["attribute"][0]["name"] = "cycle.without_rider"
    (first, _) = keyframes(NuScenes(made.write(tmp_path / "b", rows)))
    assert [b.kind for b in first.boxes if b.instance == "car"] == [None]


# --- damage -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["scene", "ego_pose", "sample_annotation", "attribute"])
def test_a_missing_table_is_named(tmp_path: Path, table: str) -> None:
    root = made.write(tmp_path / "root", made.tables(keyframes=2))
    (root / "v1.0-mini" / f"{table}.json").unlink()
    with pytest.raises(InputError, match=rf"tables are missing: {table}\.json"):
        NuScenes(root)


@pytest.mark.parametrize("content", ["", "[{", '{"token": 1}', "\x00\xff"])
def test_a_corrupt_table_is_named(tmp_path: Path, content: str) -> None:
    root = made.write(tmp_path / "root", made.tables(keyframes=2))
    (root / "v1.0-mini" / "sample.json").write_text(content)
    with pytest.raises(InputError, match=r"sample\.json: "):
        NuScenes(root)


def changed(tmp_path: Path, change: Callable[[made.Rows], None]) -> NuScenes:
    rows = json.loads(json.dumps(made.tables()))
    change(rows)
    return NuScenes(made.write(tmp_path / "root", rows))


def damage(data: NuScenes) -> list[str]:
    return [str(s) for s in (*data.damaged, *data.scenes("scene-0001")) if isinstance(s, Damage)]


def row(rows: made.Rows, table: str, token: str) -> dict:
    return next(r for r in rows[table] if r["token"] == token)


def test_a_row_that_lacks_a_field_costs_its_keyframe(tmp_path: Path) -> None:
    data = changed(tmp_path, lambda r: row(r, "sample_data", "CAM_FRONT-50").pop("filename"))
    told = damage(data)
    assert len(told) == 2
    assert "sample_data.json lacks a field: filename (token 'CAM_FRONT-50')" in told[0]
    assert "scene-0001 keyframe 5 (s5): sample has no data of a sensor: CAM_FRONT" in told[1]
    assert len([s for s in data.scenes("scene-0001") if isinstance(s, Scene)]) == 19


@pytest.mark.parametrize(
    ("table", "token", "key", "value", "says"),
    [
        ("ego_pose", "pose-LIDAR_TOP-50", "rotation", [1, 0, 0], "rotation must be 4 numbers"),
        ("ego_pose", "pose-LIDAR_TOP-50", "translation", [1, None, 0], "translation must be 3 numbers"),
        ("ego_pose", "pose-LIDAR_TOP-50", "rotation", [0, 0, 0, 0], "no unit quaternion"),
        ("sample", "s5", "timestamp", "late", "timestamp is str"),
        ("sample_annotation", "ann-car-5", "size", [1, 2, float("inf")], "size must be 3 numbers"),
    ],
)
def test_fields_of_the_wrong_form(tmp_path: Path, table: str, token: str, key: str, value: object, says: str) -> None:
    data = changed(tmp_path, lambda r: row(r, table, token).update({key: value}))
    told = damage(data)
    assert says in told[0]
    assert token in told[0]
    assert f"{table}.json" in told[0]


@pytest.mark.parametrize(
    ("table", "token", "key", "missing"),
    [
        ("sample_data", "LIDAR_TOP-50", "ego_pose_token", "ego_pose"),
        ("sample_annotation", "ann-car-5", "instance_token", "instance"),
        ("sample_annotation", "ann-car-5", "attribute_tokens", "attribute"),
    ],
)
def test_a_token_that_leads_nowhere(tmp_path: Path, table: str, token: str, key: str, missing: str) -> None:
    value = ["gone"] if key.endswith("s") else "gone"
    (told,) = damage(changed(tmp_path, lambda r: row(r, table, token).update({key: value})))
    assert "scene-0001 keyframe 5" in told
    assert f"token is not in {missing}.json: 'gone', which {table} '{token}' refers to" in told


def test_a_chain_that_breaks_or_turns_in_a_circle(tmp_path: Path) -> None:
    broken = changed(tmp_path / "a", lambda r: row(r, "sample", "s9").update(next="gone"))
    assert "token is not in sample.json: 'gone', which sample s9 refers to" in damage(broken)[-1]
    circle_ = changed(tmp_path / "b", lambda r: row(r, "sample", "s9").update(next="s3"))
    assert "circle" in damage(circle_)[-1]


GARBAGE = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=4), st.lists(st.floats(), max_size=4)
)


@settings(deadline=None, max_examples=CASES)
@given(st.data())
def test_garbled_rows_raise_nothing(tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject) -> None:
    """Any value in any field of any table: reported, or harmless; what is read is finite."""
    rows = made.tables(keyframes=4)
    for _ in range(draw.draw(st.integers(1, 3))):
        table = rows[draw.draw(st.sampled_from(sorted(rows)))]
        one = draw.draw(st.sampled_from(table))
        one[draw.draw(st.sampled_from(sorted(one)))] = draw.draw(GARBAGE)
    root = tmp_path_factory.mktemp("garbled")
    (root / "v1.0-mini").mkdir()
    for name, content in rows.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(content))
    data = NuScenes(root)
    for name in data.names():
        for scene in data.scenes(name):
            for track in scene.tracks.values() if isinstance(scene, Scene) else ():
                assert np.isfinite(track.xy).all()
                assert np.isfinite(track.speed).all()


def test_a_token_that_occurs_twice(tmp_path: Path) -> None:
    data = changed(tmp_path, lambda r: r["sensor"].append(dict(r["sensor"][0], channel="OTHER")))
    assert "token occurs twice in sensor.json" in damage(data)[0]
    assert len([s for s in data.scenes("scene-0001") if isinstance(s, Scene)]) == 20


def test_calibrations(data: NuScenes, tmp_path: Path) -> None:
    """A camera that looks ahead: its z axis is the ego's x, its x axis points to the right."""
    rows = made.tables(keyframes=2)
    row(rows, "calibrated_sensor", "cal-CAM_FRONT").update(rotation=[0.5, -0.5, 0.5, -0.5], translation=[1.7, 0.0, 1.5])
    (first, _) = keyframes(NuScenes(made.write(tmp_path / "a", rows)))
    camera = first.cameras["CAM_FRONT"]
    np.testing.assert_allclose(camera.to_ego @ [2.0, 1.0, 10.0, 1.0], [11.7, -2.0, 0.5, 1.0], atol=1e-12)
    np.testing.assert_array_equal(camera.intrinsic, [[50, 0, 32], [0, 50, 24], [0, 0, 1]])
    row(rows, "calibrated_sensor", "cal-CAM_BACK")["camera_intrinsic"] = [1]
    broken = NuScenes(made.write(tmp_path / "b", rows))
    assert "camera intrinsic is not 3 by 3 numbers: calibrated_sensor 'cal-CAM_BACK'" in damage(broken)[0]


def test_a_picture_that_is_not_there(tmp_path: Path) -> None:
    root = made.write(tmp_path / "root", made.tables(keyframes=2))
    (root / "samples/CAM_FRONT/0.jpg").unlink()
    scene = next(s for s in NuScenes(root).scenes("scene-0001") if isinstance(s, Scene))
    assert scene.ego is not None
    with pytest.raises(InputError, match=r"camera picture is missing: scene-0001 s0: front: .*CAM_FRONT/0\.jpg"):
        scene.ego.cameras.images((28, 28))


def test_versions_and_names(tmp_path: Path) -> None:
    root = made.write(tmp_path / "root", made.tables(keyframes=2))
    made.write(root, made.tables(keyframes=2) | {"sample_data": []}, version="v1.0-test")
    with pytest.raises(InputError, match=r"holds v1\.0-mini, v1\.0-test; choose one with --split"):
        NuScenes(root)
    assert NuScenes(root, "v1.0-mini").names() == ("scene-0001",)
    with pytest.raises(UnknownNameError, match=r"did you mean 'v1\.0-mini'"):
        NuScenes(root, "v1.0-mimi")
    with pytest.raises(InputError, match=r"no folder v1\.0"):
        NuScenes(tmp_path / "elsewhere")
    with pytest.raises(UnknownNameError, match="scene-0001"):
        NuScenes(root, "v1.0-mini").keyframes("scene-0002")


def test_lane_change_by_path_alone(data: NuScenes) -> None:
    """Without lanes: aside and straight again is a change of lane, a bend that goes on is none."""
    from dataclasses import replace

    w = next(w for s in data.scenes("scene-0001") if isinstance(s, Scene) for w in windows(s))
    t = np.arange(1, 51) * 0.1
    aside = 3.5 * (1 - np.cos(np.pi * t / 5)) / 2
    swerve = replace(w, future=np.stack([10 * t, aside], 1).astype(np.float32), future_yaw=np.arctan2(np.gradient(aside, 0.1), 10))
    assert lateral_by_path(swerve) == "change lane left"
    bend = replace(w, future=np.stack([10 * t, 3.5 * (t / 5) ** 2], 1).astype(np.float32), future_yaw=np.arctan2(0.28 * t, 10))
    assert lateral_by_path(bend) == "go straight"
