"""An evaluation end to end, on simulated traffic in the form of the recorded file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge.bench.evaluation.entrants import entrants
from edge.bench.evaluation.measured import evaluate
from edge.bench.evaluation.picture import draw
from edge.bench.evaluation.report import report
from edge.bench.evaluation.table import differences, table
from edge.bench.windows import site, split_windows
from edge.cli.main import run
from edge.cli.zoo import NANO_PARENT, NANO_PLANNER
from edge.core.errors import InputError
from robotics.driving.evaluate import Configuration, sample
from robotics.driving.evaluate import run as plan_here
from robotics.driving.planner import Planner
from tests.edge.evaluation.traffic import simulated_traffic
from tests.edge.test_bench import PINNED

COUNT = 4


@pytest.fixture(scope="module")
def traffic(tmp_path_factory):
    return simulated_traffic(tmp_path_factory.mktemp("traffic") / "traffic.npz")


@pytest.fixture(scope="module")
def measured(traffic):
    return evaluate(entrants([NANO_PLANNER, NANO_PARENT], "self-spec", [1]), traffic, limit=COUNT, workers=2, show=False)


@pytest.fixture(scope="module")
def result(measured):
    return report(measured, "val", "float32", 2, 1.0)


def test_processes_plan_what_one_plans_alone(measured, traffic) -> None:
    """The fast path against the slow one: the same windows, planned here one after the other."""
    found = split_windows(traffic, "val", COUNT)
    assert [w.name for w in measured.windows] == [w.name for w in found]
    child = Planner.load(NANO_PLANNER, dtype="float32")
    configuration = Configuration("here", child, "self-spec")
    for n, outcome in enumerate(plan_here((sample(w, child.config.image_size) for w in found), [configuration])):
        theirs = measured.outcomes["nano-planner self-spec"][n]
        mine = outcome["here"]
        assert (theirs.window, theirs.scene) == (mine.window, mine.scene)
        assert theirs.plan.generation.tokens == mine.plan.generation.tokens
        np.testing.assert_allclose(theirs.errors, mine.errors)


def test_who_is_blind_is_shown_grey_and_nothing_else_changes(traffic, monkeypatch) -> None:
    planner = Planner.load(NANO_PLANNER, dtype="float32")
    asked = []
    monkeypatch.setattr(planner, "plan", lambda images, *rest, **options: asked.append((images, rest, options)))
    s = sample(split_windows(traffic, "val", 1)[0], planner.config.image_size)
    for shade in (None, 127):
        next(plan_here([s], [Configuration("x", planner, "ar", shade=shade)]))
    (seen, *told), (blank, *again) = asked
    assert told == again
    np.testing.assert_array_equal(np.stack(seen), s.images)
    assert np.stack(blank).shape == s.images.shape
    assert set(np.unique(np.stack(blank))) == {127}
    assert np.unique(s.images).size > 1


def test_everyone_is_on_the_same_windows(measured) -> None:
    assert set(measured.errors) == {
        *("stop", "constant velocity", "constant acceleration and turn rate", "ridge"),
        *("reference path (network-offset)", "nano-planner self-spec", "nano-planner-ar ar"),
    }
    assert all(e.shape == (COUNT, 10) for e in measured.errors.values())
    assert set(measured.sites()) == {"US-101", "Lankershim"}
    assert measured.parents == ("nano-planner-ar ar",)
    still = np.linalg.norm(np.stack([w.future[4::5] for w in measured.windows]), axis=-1)
    np.testing.assert_allclose(measured.errors["stop"], still, rtol=1e-6)


def test_the_result_has_the_common_form(result, measured) -> None:
    read = json.loads(json.dumps(result))
    assert (read["schema"], read["bench"]) == ("edge.bench/1", "eval")
    rows = {r["name"]: r for r in read["rows"]}
    own = PINNED - {"ratio_ar", "equal_ar"}
    assert set(rows["nano-planner self-spec"]) >= own
    assert rows["nano-planner self-spec"]["forwards"] < rows["nano-planner-ar ar"]["forwards"]
    for name, row in rows.items():
        for where, at in row["sites"].items():
            here = measured.errors[name][measured.at(where)]
            assert at["ade5_m"]["mean"] == pytest.approx(here.mean())
            assert at["fde3_m"]["mean"] == pytest.approx(here[:, 5].mean())
            assert at["ade3_m"]["low"] <= at["ade3_m"]["mean"] <= at["ade3_m"]["high"]
            np.testing.assert_allclose(at["error_m"], here.mean(axis=0), atol=1e-4)
    for where, best in read["best"].items():
        assert rows[best]["sites"][where]["ade5_m"]["mean"] == min(
            rows[b]["sites"][where]["ade5_m"]["mean"] for b in measured.baselines
        )
        assert table(read, where).row_count == len(rows)
    assert differences(read).row_count == len(read["differences"])


def test_pictures_are_written(measured, result, tmp_path) -> None:
    written = draw(measured, result, tmp_path / "deep")
    assert [p.name for p in written] == ["errors.png", "gallery.png"]
    assert all(p.stat().st_size > 20_000 for p in written)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot"):
        draw(measured, result, tmp_path / "file")


def test_the_command(traffic, tmp_path, capfd) -> None:
    """Who wins on these few windows is chance: what --check finds is what the result lists."""
    argv = ["drive", "eval", "--data", str(traffic), "--limit", "2", "--workers", "1", "--rollouts", "1", "2"]
    status = run([*argv, "--out", str(tmp_path / "out"), "--json", str(tmp_path / "r.json"), "--check"])
    out, err = capfd.readouterr()
    result = json.loads((tmp_path / "r.json").read_text())
    assert status == (3 if result["failures"] else 0)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["errors.png", "eval.json", "gallery.png"]
    assert {r["name"] for r in result["rows"]} >= {"nano-planner self-spec", "nano-planner self-spec x2"}
    assert "ridge" in out
    assert "2 of 2" in err
    assert all(f"does not hold: {f}" in out for f in result["failures"])


def test_errors_are_one_line(traffic, capfd) -> None:
    for argv, message in (
        (["--data", "none.npz"], "none.npz: no such file"),
        (["--split", "test"], "unknown split 'test'"),
        (["--limit", "0"], "has no window"),
        (["--model", "nowhere"], "nowhere"),
        (["--strategy", "selfspec"], "did you mean 'self-spec'"),
        (["--rollouts", "0"], "from 1 on"),
        (["--out", str(traffic)], "cannot make this folder"),
    ):
        data = [] if "--data" in argv else ["--data", str(traffic)]
        assert run(["drive", "eval", *data, *argv]) == 2
        err = capfd.readouterr().err
        assert message in err
        assert err.count("\n") == 1


def test_the_windows_are_those_of_the_plan_bench(recorded_data) -> None:
    found = split_windows(recorded_data, "val")
    assert len(found) == 732
    assert sum(site(w.scene.name) == "Lankershim" for w in found) == 193
