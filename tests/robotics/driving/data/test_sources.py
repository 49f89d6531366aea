"""One command for every format: what a name stands for, the folders that come out, and the reasons for what does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from converters.dataset import Folder
from edge.cli.main import run
from edge.core.errors import InputError, UnknownNameError
from robotics.driving.answer import driving_template, fill, parse
from robotics.driving.coding import TrajectoryCoding
from robotics.driving.data.convert import convert, summary
from robotics.driving.data.sources import Choice, detect, sources
from robotics.driving.data.tfrecord import framed
from robotics.driving.prompt import EgoHistory
from tests.robotics.driving.data import made_bag, made_commonroad, made_nuscenes, made_wod

SIZE = (28, 28)


def wod(root: Path) -> Path:
    root.mkdir()
    made_wod.shard(root / "training.tfrecord-00000-of-00002")
    made_wod.shard(root / "validation.tfrecord-00000-of-00001", [made_wod.e2ed_frame("val-001", rated=True)])
    return root


def nuscenes(root: Path) -> Path:
    return made_nuscenes.write(root)


def commonroad(root: Path) -> Path:
    root.mkdir()
    made_commonroad.write(root / "A-1.xml", name="A-1")
    made_commonroad.write(root / "B-1.xml", name="B-1", version="2018b")
    return root


def rosbag(root: Path) -> Path:
    return made_bag.write(root)


MAKERS = {"wod-e2e": wod, "nuscenes": nuscenes, "commonroad": commonroad, "rosbag": rosbag}


@pytest.fixture(params=MAKERS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    return request.param, MAKERS[request.param](tmp_path / "src")


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_every_format_becomes_a_folder_that_training_reads(made: tuple[str, Path], tmp_path: Path) -> None:
    format_, src = made
    assert detect(str(src)) == format_
    meta = convert(str(src), tmp_path / "out", image_size=SIZE, show_progress=False)
    folder = Folder.open(tmp_path / "out")
    assert meta["records"] == len(folder.records) > 0
    assert meta["damaged"] == [] or format_ == "rosbag"
    for r in records(tmp_path / "out"):
        answer = parse(fill(driving_template(), r["values"]))
        got = TrajectoryCoding().decode(answer.coded(), EgoHistory.read(r["history"]), r["command"])
        np.testing.assert_allclose(got, r["waypoints"], atol=0.051)
        assert r.get("absent", []) == (["critical_objects", "explanation"] if format_ in ("wod-e2e", "rosbag") else [])
    if format_ != "commonroad":  # pictures of the set's own cameras: each made of one colour
        assert np.ptp(folder.images[..., 0], axis=(2, 3)).max() < 12


def test_two_workers_write_the_same(made: tuple[str, Path], tmp_path: Path) -> None:
    for n in (1, 2):
        convert(str(made[1]), tmp_path / str(n), image_size=SIZE, workers=n, show_progress=False)
    for file in ("records.jsonl", "images.npy", "meta.json"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()


def test_mirrored_copies(made: tuple[str, Path], tmp_path: Path) -> None:
    one = convert(str(made[1]), tmp_path / "1", image_size=SIZE, show_progress=False)
    two = convert(str(made[1]), tmp_path / "2", image_size=SIZE, mirror=True, show_progress=False)
    assert two["records"] == 2 * one["records"]
    assert len({r["id"] for r in records(tmp_path / "2")}) == two["records"]


def test_highway_env(tmp_path: Path) -> None:
    meta = convert(
        "highway-env", tmp_path / "h", image_size=SIZE, show_progress=False,
        choice=Choice(seeds="4:6", kinds=("merge-v1",), stride_steps=20, seconds=8.0),
    )  # fmt: skip
    assert {r["scene"] for r in records(tmp_path / "h")} == {"merge-v1-4", "merge-v1-5"}
    assert meta["counts"]["source highway-env-merge-v1"] == meta["records"]
    with pytest.raises(UnknownNameError, match="merge-v1"):
        sources("highway-env", choice=Choice(kinds=("merge",)))


# --- what is left out -------------------------------------------------------------------------------------------------------


def test_damage_never_ends_a_run_and_is_in_the_meta(tmp_path: Path) -> None:
    src = tmp_path / "src"
    src.mkdir()
    good = made_wod.e2ed_frame("good-001").SerializeToString()
    still = made_wod.e2ed_frame("still-001")
    for states in (still.past_states, still.future_states):
        for key in ("pos_x", "vel_x", "accel_x"):
            column = getattr(states, key)
            column[:] = [0.0] * len(column)
    no_future, no_picture = made_wod.e2ed_frame("test-001", future=False), made_wod.e2ed_frame("dark-001")
    no_picture.frame.images[0].image = b"\xff\xd8 not any more"
    flipped = bytearray(framed(good))
    flipped[300] ^= 1
    parts = [
        framed(good),
        bytes(flipped),
        *(framed(f.SerializeToString()) for f in (still, no_future, no_picture)),
        framed(good)[:99],
    ]
    (src / "training.tfrecord-00000-of-00002").write_bytes(b"".join(parts))
    made_wod.shard(src / "training.tfrecord-00001-of-00002")
    meta = convert(str(src), tmp_path / "out", image_size=SIZE, show_progress=False)
    assert [r["id"] for r in records(tmp_path / "out")] == ["good:001", "one:003", "two:110"]
    assert meta["dropped"] == {
        "payload checksum does not match": 1,
        "the ego hardly moves in 7 s": 1,
        "less than 5 s of future is recorded": 1,
        "camera picture is broken": 1,
        "record is cut short": 1,
    }
    where = dict(meta["damaged"])
    assert f"training.tfrecord-00000-of-00002@{len(framed(good))}" in where
    assert any("cut short" in reason for reason in where.values())
    assert "front: " in where["dark:001"]
    assert json.loads((tmp_path / "out" / "meta.json").read_text())["damaged"] == meta["damaged"]
    lines = list(summary(meta, tmp_path / "out"))
    assert lines[0] == f"wrote 3 records to {tmp_path / 'out'}"
    assert "dropped 1 x camera picture is broken" in lines
    every = convert(str(src), tmp_path / "all", image_size=SIZE, min_move_m=0, show_progress=False)
    assert every["records"] == 4
    assert "the ego hardly moves in 7 s" not in every["dropped"]


def test_nothing_left_says_why(tmp_path: Path) -> None:
    path = made_wod.shard(tmp_path / "test.tfrecord", [made_wod.e2ed_frame(future=False)])
    with pytest.raises(InputError, match="1 x less than 5 s of future is recorded"):
        convert(str(path), tmp_path / "out", image_size=SIZE, show_progress=False)
    path.write_bytes(b"\x01" * 40)
    with pytest.raises(InputError, match=r"the first: test.tfrecord@0: length checksum"):
        convert(str(path), tmp_path / "out", image_size=SIZE, show_progress=False)


def test_rows_of_broken_tables_are_told_once(tmp_path: Path) -> None:
    rows = made_nuscenes.tables()
    del rows["ego_pose"][0]["rotation"]
    meta = convert(str(made_nuscenes.write(tmp_path / "src", rows)), tmp_path / "out", image_size=SIZE, show_progress=False)
    assert sum(where.startswith("ego_pose.json row 0") for where, _ in meta["damaged"]) == 1


# --- choosing ---------------------------------------------------------------------------------------------------------------


def test_choices(tmp_path: Path) -> None:
    w, c, n = wod(tmp_path / "w"), commonroad(tmp_path / "c"), nuscenes(tmp_path / "n")
    assert [s.name for s in sources(str(w), choice=Choice(split="val"))] == ["validation.tfrecord-00000-of-00001"]
    assert len(sources(str(w))) == 2
    assert [s.name for s in sources(str(c), choice=Choice(only=("A-1",)))] == ["A-1"]
    assert [s.name for s in sources(str(c), choice=Choice(without=("A-1",)))] == ["B-1"]
    assert [s.name for s in sources(str(n), choice=Choice(split="mini"))] == ["scene-0001"]
    assert detect(str(c / "A-1.xml")) == "commonroad"
    assert detect(str(w / "training.tfrecord-00000-of-00002")) == "wod-e2e"
    with pytest.raises(InputError, match="no scenes"):
        sources(str(c), choice=Choice(only=("C-1",)))
    with pytest.raises(InputError, match="does not tell before it is read"):
        sources(str(w), choice=Choice(only=("one",)))
    with pytest.raises(InputError, match="no wod-e2e source"):
        sources(str(w), choice=Choice(split="test"))
    with pytest.raises(UnknownNameError, match=r"did you mean 'v1\.0-mini'"):
        sources(str(n), choice=Choice(split="min"))


def test_formats_that_cannot_be_told(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(InputError, match="not a data set of a known format"):
        detect(str(tmp_path))
    with pytest.raises(InputError, match="no such file"):
        detect(str(tmp_path / "absent"))
    with pytest.raises(UnknownNameError, match="did you mean 'nuscenes'"):
        sources(str(tmp_path), "nuscene")


# --- the command ------------------------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    src, out = wod(tmp_path / "src"), tmp_path / "out"
    assert run(["drive", "data", str(src), "--split", "train", "--out", str(out)]) == 0
    assert "edge: wrote 2 records to" in capfd.readouterr().err
    assert run(["drive", "data", str(out), "--coding", "absolute", "--out", str(tmp_path / "recoded")]) == 0
    assert all(r["absent"] for r in records(tmp_path / "recoded"))
    assert run(["drive", "data", str(tmp_path / "absent"), "--out", str(tmp_path / "x")]) == 2
    assert "no such file" in capfd.readouterr().err


def test_the_command_takes_topics(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    src = rosbag(tmp_path / "src")
    topic = ["--topic", "front=/sensing/camera/front/image"]
    assert run(["drive", "data", str(src), *topic, "--out", str(tmp_path / "out")]) == 0
    err = capfd.readouterr().err
    assert "dropped 4 x less than 2 s of history is recorded" in err or "less than 2 s of history" in err
    assert run(["drive", "data", str(src), "--topic", "fornt=/x", "--out", str(tmp_path / "x")]) == 2
    assert "did you mean 'front'" in capfd.readouterr().err
