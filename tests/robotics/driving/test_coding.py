"""Waypoints to numbers and back, from every reference path."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge.core.errors import InputError
from robotics.driving.baselines import constant_velocity
from robotics.driving.coding import WAYPOINT_TIMES_S, FittedPath, TrajectoryCoding, clamp, features, fit
from robotics.driving.prompt import EgoHistory
from robotics.driving.recode import fit_folders, load_reference, recode, records, save_reference

coordinates = st.lists(st.tuples(st.floats(-150, 150), st.floats(-50, 50)), min_size=5, max_size=5)


def history(speed: float, accel: float = 0.0, drift: float = 0.0) -> EgoHistory:
    t = np.arange(-4, 1) * 0.5
    points = [{"x_m": speed * s + accel * s * s / 2, "y_m": drift * s, "v_mps": max(speed + accel * s, 0.0)} for s in t]
    return EgoHistory.read({"points": points})


def examples(n: int = 300):
    """Vehicles that keep their acceleration, which constant velocity misses and a fit can learn."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        speed, accel = rng.uniform(5, 20), rng.uniform(-1, 1)
        h = history(speed, accel)
        yield h, "GO_STRAIGHT", np.stack([speed * WAYPOINT_TIMES_S + accel * WAYPOINT_TIMES_S**2 / 2, 0 * WAYPOINT_TIMES_S], axis=1)


@pytest.fixture(scope="module")
def fitted() -> FittedPath:
    return fit(list(examples()))


@given(coordinates, st.floats(0, 30), st.floats(-2, 2), st.sampled_from(["absolute", "cv-offset", "fitted-offset"]))
def test_round_trip(fitted, waypoints, speed, accel, kind) -> None:
    h = history(speed, accel)
    for resolution in (0.5, 0.1, 0.01):
        coding = TrajectoryCoding(kind=kind, resolution_m=resolution, fitted=fitted if kind == "fitted-offset" else None)
        coded = coding.encode(waypoints, h, "GO_LEFT")
        np.testing.assert_allclose(coding.decode(coded, h, "GO_LEFT"), waypoints, atol=resolution / 2 + 1e-9)
        np.testing.assert_allclose(coded / resolution, np.round(coded / resolution), atol=1e-6)


def test_zero_offsets_are_the_constant_velocity_baseline_exactly() -> None:
    h = history(13.37, drift=-0.4)
    path = TrajectoryCoding().decode(np.zeros((5, 2)), h, "GO_STRAIGHT")
    np.testing.assert_array_equal(path, constant_velocity(h.velocity_mps(), WAYPOINT_TIMES_S))


def test_a_fitted_path_learns_what_constant_velocity_misses(fitted) -> None:
    coding = TrajectoryCoding(kind="fitted-offset", fitted=fitted)
    for h, command, waypoints in list(examples(20)):
        assert np.abs(coding.reference(h, command) - waypoints).max() < 0.3
    braking = history(10.0, -1.0)
    assert np.abs(TrajectoryCoding().reference(braking, "GO_STRAIGHT")[-1, 0] - 37.5) > 10


def test_a_fit_keeps_to_the_middle_of_what_happened() -> None:
    """A tenth of the vehicles end 60 m further left: least squares gives everyone a part of that, least distance nearly none."""
    given = [(h, c, w + np.array([0.0, 60.0 * (n % 10 == 0)])) for n, (h, c, w) in enumerate(examples())]
    h, command, waypoints = next(iter(examples(1)))
    aside = [fit(given, rounds=rounds).offsets(h, command)[:, 1].mean() for rounds in (15, 0)]
    assert abs(aside[0]) < 0.5 < 3 < aside[1]
    assert waypoints[:, 1].max() == 0


def test_a_fit_follows_the_weights() -> None:
    both = [(h, c, w + np.array([0.0, side])) for side in (4.0, -4.0) for h, c, w in examples(100)]
    h, command, _ = both[0]
    for heavy, side in ((0, 4.0), (1, -4.0)):
        weights = np.repeat([1.0, 0.05] if heavy == 0 else [0.05, 1.0], 100)
        path = fit(both, weights)
        np.testing.assert_allclose(path.offsets(h, command)[:, 1], side, atol=0.5)


def test_features_follow_the_route_hint() -> None:
    h = history(8.0)
    left, right, straight = (features(h, c) for c in ("GO_LEFT", "GO_RIGHT", "GO_STRAIGHT"))
    assert left.shape == right.shape == straight.shape
    assert not np.array_equal(left, right)
    assert not np.array_equal(left, straight)


def test_a_path_of_other_features_is_refused() -> None:
    short = FittedPath(weights=((0.0,) * 10,) * 3)
    with pytest.raises(InputError, match="a row per feature: got 3 rows"):
        short.offsets(history(5.0), "GO_LEFT")
    with pytest.raises(ValidationError, match="10 numbers"):
        FittedPath(weights=((0.0, 1.0),))


@pytest.mark.parametrize(("kind", "has"), [("fitted-offset", False), ("cv-offset", True), ("absolute", True)])
def test_kind_and_path_go_together(fitted, kind, has) -> None:
    with pytest.raises(ValidationError, match="comes with a fitted path"):
        TrajectoryCoding(kind=kind, fitted=fitted if has else None)


def test_clamping_is_flagged() -> None:
    held, changed = clamp([[0.0, 0.0]] * 4 + [[1200.0, -1000.0]])
    assert changed.nonzero()[0].tolist() == [4, 4]
    assert held[-1].tolist() == [999.99, -999.99]
    with pytest.raises(InputError, match="finite"):
        clamp([[np.nan, 0.0]])


def folder_of(path, n: int = 40):
    """A dataset folder with coded trajectories and no more than this test needs."""
    path.mkdir()
    coding = TrajectoryCoding()
    with (path / "records.jsonl").open("w") as f:
        for i, (h, command, w) in enumerate(examples(n)):
            values = ["no"] * 15 + [f"{x:+07.2f}" for x in coding.encode(w, h, command).ravel()]
            row = {"id": str(i), "prompt": "p", "values": values, "waypoints": w.tolist(), "command": command}
            f.write(json.dumps(row | {"history": h.model_dump(mode="json")}) + "\n")
    (path / "meta.json").write_text(json.dumps({"schema": "edge.sft/1", "planner": {"schema": "planner/1"}}))
    np.save(path / "images.npy", np.zeros((n, 3, 2, 2, 3), np.uint8))
    return path


def test_recoding_a_folder(tmp_path, fitted) -> None:
    source = folder_of(tmp_path / "a")
    save_reference(fit_folders([source]), tmp_path / "ref.json")
    path = load_reference(tmp_path / "ref.json")
    coding = TrajectoryCoding(kind="fitted-offset", fitted=path, resolution_m=0.5)
    meta = recode(source, tmp_path / "b", coding)
    assert TrajectoryCoding.model_validate(meta["planner"]["coding"]) == coding
    assert (tmp_path / "b" / "images.npy").read_bytes() == (source / "images.npy").read_bytes()
    before, after = list(records(source)), list(records(tmp_path / "b"))
    size = [np.abs([float(v) for v in r["values"][-10:]]).mean() for r in (*before, *after)]
    assert np.mean(size[len(before) :]) < 0.2 * np.mean(size[: len(before)])
    assert [r["values"][:15] for r in before] == [r["values"][:15] for r in after]
    with pytest.raises(InputError, match="exists"):
        recode(source, tmp_path / "b", coding)


def test_bad_folders_and_files(tmp_path) -> None:
    with pytest.raises(InputError, match=r"meta\.json is missing"):
        list(records(tmp_path))
    with pytest.raises(InputError, match="got 1 weights for 2 folders"):
        fit_folders([tmp_path, tmp_path], [1.0])
    with pytest.raises(InputError, match="positive"):
        fit_folders([tmp_path], [0.0])
    with pytest.raises(InputError, match="fit a reference path"):
        load_reference(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match="weights"):
        load_reference(tmp_path / "bad.json")
