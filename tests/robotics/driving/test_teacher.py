"""Taught paths: what is seen, who teaches whom, and how a folder takes them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge.core.errors import InputError
from robotics.driving import path_net, teacher
from robotics.driving.coding import TrajectoryCoding
from robotics.driving.labels import Labeller
from robotics.driving.path_net import PathNet
from robotics.driving.recode import load_reference, recode, records, save_reference
from robotics.driving.scene import Scene, Track
from robotics.driving.surroundings import Surroundings
from robotics.driving.windows import mirror, window_at
from tests.robotics.driving.test_path_net import history


def track(k: int, x: float, y: float, speed: float = 10.0, slows: float = 0.0, steps: int = 80) -> Track:
    v = np.maximum(speed - slows * np.arange(steps) * 0.1, 0.0)
    xy = np.stack([x + np.cumsum(v) * 0.1, np.full(steps, y)], axis=1).astype(np.float32)
    return Track(k, 0, xy, np.zeros(steps, np.float32), v.astype(np.float32), 4.0, 1.8)


def seen(*others: Track) -> Surroundings:
    scene = Scene("made", "made up", (), {t.track_id: t for t in (track(1, 0, 0), *others)})
    return Labeller(scene).surroundings(window_at(scene, 1, 25))


def test_what_is_seen() -> None:
    alone = seen()
    assert alone == Surroundings(lead_m=None, lead_brakes=False, second_m=None, left_m=None, right_m=None, ahead=0)
    all_ = seen(track(2, 20, 0), track(3, 45, 0), track(4, 30, 3.5), track(5, -10, -3.5), track(6, 70, 0), track(7, 12, 12))
    assert all_.lead_m == pytest.approx(16, abs=0.01)  # between bumpers
    assert (all_.second_m, all_.left_m, all_.right_m) == (pytest.approx(45, abs=0.01), pytest.approx(30, abs=0.01), None)
    assert all_.ahead == 3
    assert not all_.lead_brakes
    assert seen(track(2, 20, 0, slows=3.0)).lead_brakes


def test_speeds_of_others_are_not_seen() -> None:
    """Two leads at the same gap now, one of which drives away."""
    step = 25
    steady, leaving = track(2, 20, 0), track(2, 20 - 0.1 * (step + 1) * 5, 0, speed=15.0)
    assert seen(steady).model_dump() == pytest.approx(seen(leaving).model_dump(), abs=1e-4)


def test_a_mirror_exchanges_the_sides() -> None:
    scene = Scene("made", "made up", (), {t.track_id: t for t in (track(1, 0, 0), track(2, 30, 3.5), track(3, 20, 0))})
    here, there = (Labeller(s).surroundings(window_at(s, 1, 25)) for s in (scene, mirror(scene)))
    assert (here.left_m, here.right_m) == (there.right_m, there.left_m)
    assert here.lead_m == there.lead_m


def test_numbers_are_of_order_one() -> None:
    for s in (seen(), seen(track(2, 20, 0), track(3, 45, 0), track(4, 30, 3.5))):
        for v in (0.0, 10.0, 40.0):
            n = s.numbers(v)
            assert n.shape == (13,)
            assert np.isfinite(n).all()
            assert np.abs(n).max() < 5


def folder_of(path, scenes: int = 4, n: int = 30, outlier: str | None = None, surroundings: bool = True):
    """Records of vehicles that slow down by how near their lead is; those of the scene `outlier` fly 500 m up the road."""
    path.mkdir()
    rng = np.random.default_rng(0)
    with (path / "records.jsonl").open("w") as f:
        for i in range(scenes * n):
            scene = f"scene-{i % scenes}" + ("~mirror" if i % 2 else "")
            speed, gap = rng.uniform(5, 15), rng.uniform(5, 50)
            h = history(speed)
            x = speed * path_net.SECONDS - 0.3 * path_net.SECONDS**2 * (gap < 20) + 500 * (f"scene-{i % scenes}" == outlier)
            row = {
                "id": f"{scene}:{i}",
                "scene": scene,
                "prompt": "p",
                "values": ["no"] * 15 + ["+000.00"] * 10,
                "command": "GO_STRAIGHT",
            }
            row |= {"waypoints": np.stack([x, 0 * x], 1).tolist(), "history": h.model_dump(mode="json")}
            if surroundings:
                around = Surroundings(lead_m=gap, lead_brakes=False, second_m=None, left_m=None, right_m=None, ahead=1)
                row["surroundings"] = around.model_dump(mode="json")
            f.write(json.dumps(row) + "\n")
    (path / "meta.json").write_text(json.dumps({"schema": "edge.sft/1", "planner": {"schema": "planner/1"}}))
    np.save(path / "images.npy", np.zeros((scenes * n, 3, 2, 2, 3), np.uint8))
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """Few steps and one network: who teaches whom does not depend on how well."""
    fit = path_net.fit
    monkeypatch.setattr(path_net, "fit", lambda *a, **k: fit(*a, **({"steps": 150} | k)))
    monkeypatch.setattr(teacher, "SEEDS", 1)


def test_no_scene_teaches_itself(tmp_path) -> None:
    """What one scene does shows in the paths of the others and not in its own, nor in those of its mirror image."""
    plain = teacher.teach(folder_of(tmp_path / "a"))
    odd = teacher.teach(folder_of(tmp_path / "b", outlier="scene-2"))
    assert set(plain) == set(odd) == {r["id"] for r in records(tmp_path / "a")}
    changed = {k.split(":")[0].removesuffix("~mirror") for k in plain if plain[k] != odd[k]}
    assert changed == {"scene-0", "scene-1", "scene-3"}


def test_taught_paths_know_what_is_seen(tmp_path) -> None:
    folder = folder_of(tmp_path / "a", n=60)
    taught = teacher.teach(folder)
    rows = list(records(folder))
    away = [np.linalg.norm(np.array(taught[r["id"]]) - r["waypoints"], axis=1).mean() for r in rows]
    reference = TrajectoryCoding(kind="network-offset", network=teacher.reference([folder]))
    blind = [
        np.linalg.norm(
            reference.reference(history(r["history"]["points"][-1]["v_mps"]), r["command"]) - r["waypoints"], axis=1
        ).mean()
        for r in rows
    ]
    assert np.mean(away) < 0.6 * np.mean(blind)


def test_other_folders_are_taught_and_fitted_to_as_asked(tmp_path) -> None:
    own, other = folder_of(tmp_path / "a"), folder_of(tmp_path / "b", scenes=1, outlier="scene-0")
    alone, also = teacher.teach(own), teacher.teach(own, [other])
    assert set(also) - set(alone) == {f"scene-0{'~mirror' * (i % 2)}:{i}" for i in range(30)} - set(alone)
    beside = teacher.teach(own, beside=other, beside_weight=5.0)
    assert set(beside) == set(alone)
    assert np.mean([p[-1][0] for p in beside.values()]) > 15 + np.mean([p[-1][0] for p in alone.values()])


def test_a_folder_takes_taught_paths(tmp_path) -> None:
    folder = folder_of(tmp_path / "a")
    save_reference(teacher.reference([folder]), tmp_path / "ref.json")
    network = load_reference(tmp_path / "ref.json")
    assert isinstance(network, PathNet)
    coding = TrajectoryCoding(kind="network-offset", network=network, resolution_m=0.5)
    teacher.save(teacher.teach(folder), tmp_path / "taught.json")
    taught = teacher.load(tmp_path / "taught.json")
    recode(folder, tmp_path / "b", coding, taught)
    for r in records(tmp_path / "b"):
        coded = np.array([float(v) for v in r["values"][-10:]]).reshape(5, 2)
        h = history(r["history"]["points"][-1]["v_mps"])
        np.testing.assert_allclose(coding.decode(coded, h, r["command"]), taught[r["id"]], atol=0.26)
    with pytest.raises(InputError, match="not among the taught ones"):
        recode(folder, tmp_path / "c", coding, {})


def test_refusals(tmp_path) -> None:
    folder = folder_of(tmp_path / "a")
    with pytest.raises(InputError, match="got 1 weights for 2 folders"):
        teacher.reference([folder, folder], [1.0])
    with pytest.raises(InputError, match="positive"):
        teacher.reference([folder], [0.0])
    with pytest.raises(InputError, match="no surroundings to teach from"):
        teacher.teach(folder_of(tmp_path / "old", surroundings=False))
    with pytest.raises(InputError, match="two scenes or more"):
        teacher.teach(folder_of(tmp_path / "one", scenes=1))
    with pytest.raises(InputError, match="edge drive teach"):
        teacher.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(InputError, match="no file of taught paths"):
        teacher.load(tmp_path / "bad.json")
