"""Dataset folders: complete, reproducible, resumable, and readable by nothing but their files."""

import json
from functools import partial

import numpy as np
import pytest

from decoding.template import Template
from edge.core.errors import InputError
from robotics.driving import dataset
from robotics.driving.answer import PlannerConfig, driving_template, fill, parse
from robotics.driving.coding import TrajectoryCoding
from robotics.driving.dataset import Source, simulated_sources, write
from robotics.driving.prompt import EgoHistory
from robotics.driving.render import render
from robotics.driving.scene import Scene, Track
from robotics.driving.windows import windows

CONFIG = PlannerConfig(image_size=(28, 28))
LANES = tuple((np.array([[-50, y], [200, y]], np.float32), np.array([[-50, y - 4], [200, y - 4]], np.float32)) for y in (2, 6))


def traffic(seed: int, steps: int = 95) -> dict[int, Track]:
    """Three vehicles with speeds of their own."""
    rng = np.random.default_rng(seed)
    out = {}
    for k in range(3):
        speed = np.clip(8 + 2 * k + np.cumsum(rng.normal(0, 0.2, steps)), 0, None)
        xy = np.stack([12 * k + np.cumsum(speed) * 0.1, np.full(steps, 4.0 * (k % 2))], 1).astype(np.float32)
        out[k] = Track(k, 0, xy, np.zeros(steps, np.float32), speed.astype(np.float32), 4.5, 1.9)
    return out


# A partial of Scene, not a function of this file, so that worker processes can unpickle it.
SOURCES = [Source(f"hand-{n}", partial(Scene, f"hand-{n}", "test", LANES, traffic(n))) for n in range(2)]


def made(out, **kw):
    return write(SOURCES, out, **({"config": CONFIG, "stride_steps": 10, "show_progress": False} | kw))


def records(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "sim"
    made(out)
    return out


def test_the_folder_is_complete(folder) -> None:
    meta, rows = json.loads((folder / "meta.json").read_text()), records(folder)
    images = np.load(folder / "images.npy", mmap_mode="r")
    n = sum(1 for s in SOURCES for _ in windows(s.load(), stride_steps=10))
    assert meta["schema"] == "edge.sft/1"
    assert meta["records"] == len(rows) == len(images) == n > 0
    assert images.shape[1:] == (3, 28, 28, 3)
    assert images.dtype == np.uint8
    assert Template.model_validate(meta["template"]) == driving_template()
    assert PlannerConfig.model_validate(meta["planner"]) == CONFIG
    assert sorted(p.name for p in folder.iterdir()) == ["images.npy", "meta.json", "records.jsonl"]
    assert len({r["id"] for r in rows}) == n


def test_every_record_is_an_answer_that_decodes_to_its_waypoints(folder) -> None:
    for r in records(folder):
        assert r["prompt"].count("<image>") == 1
        answer = parse(fill(driving_template(), r["values"]))
        got = CONFIG.coding.decode(answer.coded(), EgoHistory.read(r["history"]), r["command"])
        np.testing.assert_allclose(got, r["waypoints"], atol=0.051)


def test_images_belong_to_their_records(folder) -> None:
    images = np.load(folder / "images.npy")
    n = 0
    for s in SOURCES:
        scene = s.load()
        for w in windows(scene, stride_steps=10):
            if n % 7 == 0:
                np.testing.assert_array_equal(images[n], render(scene, w.step, w.track_id, size=(28, 28)))
            n += 1


def test_two_workers_write_the_same_bytes(folder, tmp_path) -> None:
    made(tmp_path / "two", workers=2)
    for file in ("records.jsonl", "images.npy", "meta.json"):
        assert (tmp_path / "two" / file).read_bytes() == (folder / file).read_bytes()


def test_an_interrupted_run_goes_on(folder, tmp_path, monkeypatch) -> None:
    out, real, calls = tmp_path / "again", dataset._write_part, []

    def dies_at_the_second(source, part, *args, **kw):
        calls.append(source.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(source, part, *args, **kw)

    monkeypatch.setattr(dataset, "_write_part", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        made(out)
    assert not out.exists()
    monkeypatch.undo()
    first = (out.with_name("again.partial") / "00000.json").stat().st_mtime_ns
    rendered = []
    monkeypatch.setattr(dataset, "views", lambda window, size: (rendered.append(window.scene.name), real_views(window, size))[1])
    made(out)
    assert set(rendered) == {SOURCES[1].load().name}
    assert first
    assert (out / "records.jsonl").read_bytes() == (folder / "records.jsonl").read_bytes()


real_views = dataset.views


def test_other_settings_start_afresh(tmp_path) -> None:
    stale = tmp_path / "x.partial"
    stale.mkdir()
    (stale / "settings.json").write_text("{}")
    (stale / "00000.json").write_text("not even json")
    assert made(tmp_path / "x", limit=3)["records"] == 3


def test_mirrored_copies_double_the_records(folder, tmp_path) -> None:
    assert made(tmp_path / "m", mirror=True)["records"] == 2 * len(records(folder))
    ids = [r["id"] for r in records(tmp_path / "m")]
    assert len(set(ids)) == len(ids)


def test_limit(tmp_path) -> None:
    assert made(tmp_path / "few", limit=5)["records"] == 5
    assert np.load(tmp_path / "few" / "images.npy").shape[0] == 5
    assert json.loads((tmp_path / "few" / "meta.json").read_text())["counts"]["source test"] == 5


def test_coding_is_a_choice_of_the_writer(tmp_path) -> None:
    config = PlannerConfig(image_size=(28, 28), coding=TrajectoryCoding(kind="absolute", resolution_m=0.01))
    made(tmp_path / "abs", limit=4, config=config)
    for r in records(tmp_path / "abs"):
        np.testing.assert_allclose(np.array(r["values"][-10:], float).reshape(5, 2), r["waypoints"], atol=0.0051)


def test_refusals(folder, tmp_path) -> None:
    with pytest.raises(InputError, match="exists"):
        made(folder)
    with pytest.raises(InputError, match="no window"):
        write([Source("empty", empty)], tmp_path / "e", show_progress=False)
    with pytest.raises(InputError, match="FIRST:END"):
        dataset.simulated(tmp_path / "s", seeds="9:3")


def empty() -> Scene:
    return Scene("empty", "test", (), {})


def recorded_file(path, scenes: dict[str, tuple[str, dict[int, Track]]]):
    """An npz in the form of the recorded data."""
    arrays = {"names": np.array(list(scenes)), "split": np.array([split for split, _ in scenes.values()])}
    for name, (_, tracks) in scenes.items():
        arrays[f"{name}/lane_pts"] = np.concatenate([b for lane in LANES for b in lane])
        arrays[f"{name}/lane_len"] = np.full((len(LANES), 2), 2, np.int16)
        arrays[f"{name}/state"] = np.concatenate([np.c_[t.xy, t.yaw, t.speed] for t in tracks.values()])
        idx = [(k, t.first + i) for k, t in tracks.items() for i in range(len(t))]
        arrays[f"{name}/idx"] = np.array(idx, np.int16)
        arrays[f"{name}/dims"] = np.array([(t.length_m, t.width_m) for t in tracks.values()], np.float32)
    np.savez(path, **arrays)
    return path


def test_recorded_leaves_out_vehicles_of_the_other_split(tmp_path) -> None:
    shared = {2: traffic(0)[2]} | {k: traffic(5)[k] for k in (0, 1)}
    file = recorded_file(tmp_path / "r.npz", {"A-1": ("train", traffic(0)), "A-2": ("train", traffic(7)), "A-3": ("val", shared)})
    kept = dataset.recorded(tmp_path / "kept", file, stride=10, image_size=(28, 28))
    every = dataset.recorded(tmp_path / "all", file, stride=10, image_size=(28, 28), avoid="")
    assert {tuple(r["id"].split(":")[:2]) for r in records(tmp_path / "all")} - {
        tuple(r["id"].split(":")[:2]) for r in records(tmp_path / "kept")
    } == {("A-1", "2")}
    assert every["records"] - kept["records"] == kept["dropped"]["vehicle is also in the split to avoid"]
    assert dataset.recorded(tmp_path / "one", file, only=("A-2",), image_size=(28, 28))["source"]["scenes"] == 1
    with pytest.raises(InputError, match="A-9"):
        dataset.recorded(tmp_path / "none", file, without=("A-9",))


def test_simulated(tmp_path) -> None:
    meta = dataset.simulated(tmp_path / "s", seeds="3:5", seconds=8.0, stride=20, image_size=(28, 28))
    assert meta["records"] > 0
    assert {r["scene"] for r in records(tmp_path / "s")} <= {s.load().name for s in simulated_sources(range(3, 5), seconds=8.0)}


def test_recorded_needs_a_file(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("EDGE_DATA", raising=False)
    with pytest.raises(InputError, match="EDGE_DATA"):
        dataset.recorded(tmp_path / "r")


def test_drop_reasons_are_counted(tmp_path, monkeypatch) -> None:
    real, seen = dataset.record, []

    def picky(window, *args):
        seen.append(window.name)
        if len(seen) <= 2:
            raise InputError("a waypoint does not fit the number form")
        return real(window, *args)

    monkeypatch.setattr(dataset, "record", picky)
    meta = made(tmp_path / "d")
    assert meta["dropped"].pop("a waypoint does not fit the number form") == 2
    assert meta["records"] == len(seen) - 2
    # 95 steps of three vehicles in each of two scenes, looked at every 10: two moments too early, five too late.
    assert meta["dropped"] == {"less than 2 s of history is recorded": 12, "less than 5 s of future is recorded": 30}
