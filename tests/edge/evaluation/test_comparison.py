"""What an evaluation says about who is better, on made-up errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.bench.evaluation.comparison import differences, failures
from edge.bench.evaluation.entrants import Entrant
from edge.bench.evaluation.measured import Evaluation, answered
from edge.bench.evaluation.report import figures
from robotics.driving.evaluate import Outcome
from robotics.driving.scene import Scene, Window
from tests.robotics.driving.synthetic import window


def windows(scenes: list[str]) -> list[Window]:
    one = window()
    out = []
    for name in scenes:
        s = Scene(name, "made up", one.scene.lanes, one.scene.tracks)
        out.append(Window(s, 1, one.step, one.history, one.history_yaw, one.history_speed, one.future, one.future_yaw))
    return out


def level(metres: np.ndarray) -> np.ndarray:
    """[N] -> [N, 10]: the same distance at all times."""
    return np.repeat(metres[:, None], 10, axis=1)


def evaluation(**others: np.ndarray) -> Evaluation:
    """Ten scenes of a site with four windows each; ridge errs by 3 m on the average, constant velocity by 4."""
    names = [f"USA_US101-{k}" for k in range(10) for _ in range(4)]
    hard = np.repeat(np.linspace(1, 5, 10), 4)
    errors = {"constant velocity": level(hard + 1), "ridge": level(hard), "reference path": level(hard - 0.2)}
    errors |= {k: level(hard + v) for k, v in others.items()}
    chosen = tuple(Entrant(k, Path(k), "ar" if k == "parent" else "self-spec", parent=k == "parent") for k in others)
    outcomes = {k: [Outcome("", "", None if np.isnan(e).any() else object(), e, None) for e in errors[k]] for k in others}  # pyright: ignore[reportArgumentType]
    parents = tuple(e.name for e in chosen if e.parent)
    return Evaluation(windows(names), chosen, parents, ("constant velocity", "ridge"), ("reference path",), errors, {}, outcomes)


def test_differences_are_paired_and_against_the_right_ones() -> None:
    e = evaluation(child=np.full(40, -0.5), parent=np.full(40, -0.6))
    found = {(d.model, d.against): d for d in differences(e)}
    assert set(found) == {(m, a) for m in ("child", "parent") for a in ("ridge", "reference path")} | {("child", "parent")}
    d = found["child", "ridge"]
    assert (d.metres.mean, d.metres.low, d.metres.high) == pytest.approx((-0.5, -0.5, -0.5))  # though errors vary from 1 to 5 m
    assert d.share == pytest.approx(-0.5 / 3)
    assert d.doubt() is None
    assert found["child", "parent"].metres.mean == pytest.approx(0.1)
    assert failures(e) == ["US-101: child is 4.2% above parent, at most 2% are allowed"]


def test_an_interval_wider_than_the_margin_is_said() -> None:
    rng = np.random.default_rng(0)
    noisy = np.repeat(rng.normal(-0.02, 0.5, 10), 4)
    doubt = next(d for d in differences(evaluation(child=noisy)) if d.against == "ridge").doubt()
    assert doubt is not None
    assert "wider than the margin" in doubt
    assert "10 scenes" in doubt
    assert doubt.endswith("holds zero: not decided.")
    lopsided = np.repeat([-1.0] + [-0.001] * 9, 4)
    doubt = next(d for d in differences(evaluation(child=lopsided)) if d.against == "ridge").doubt()
    assert doubt is not None
    assert doubt.endswith("though zero lies outside.")


@pytest.mark.parametrize(("offset", "holds"), [(0.0, True), (-1.0, True), (1e-6, False)])
def test_at_or_below_the_best_trivial_baseline(offset, holds) -> None:
    assert (failures(evaluation(child=np.full(40, offset))) == []) is holds


def test_a_parent_need_not_beat_the_baseline_and_within_2_percent_is_enough() -> None:
    assert failures(evaluation(child=np.full(40, -0.001), parent=np.full(40, 0.5))) == []
    assert failures(evaluation(child=np.full(40, -0.45), parent=np.full(40, -0.5))) == []  # 1.8 %
    assert len(failures(evaluation(child=np.full(40, -0.44), parent=np.full(40, -0.5)))) == 1  # 2.4 %


def test_invalid_answers_are_told_and_leave_their_window_out() -> None:
    offset = np.full(40, -0.5)
    offset[:3] = np.nan
    e = evaluation(child=offset)
    assert failures(e) == ["child: 3 of 40 answers are invalid"]
    assert answered(e.errors["child"]).sum() == 37
    d = next(d for d in differences(e) if d.against == "ridge")
    assert d.metres.mean == pytest.approx(-0.5)


def test_figures_at_both_horizons() -> None:
    metres = np.tile(np.arange(1.0, 11.0), (6, 1))  # 1 m at 0.5 s, 10 m at 5 s
    got = figures(metres, [f"s{k}" for k in range(6)])
    assert {k: v.mean for k, v in got.items()} == {"ade3_m": 3.5, "fde3_m": 6.0, "ade5_m": 5.5, "fde5_m": 10.0}
