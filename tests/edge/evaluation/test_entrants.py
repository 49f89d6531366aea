"""Who takes part: names, strategies, parents, and what is refused before anything slow begins."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge.bench.evaluation.entrants import Entrant, Job, entrants, is_parent
from edge.bench.evaluation.workers import plan_all
from edge.cli.zoo import NANO_PARENT, NANO_PLANNER
from edge.core.errors import CheckpointError, InputError, UnknownNameError
from robotics.driving.answer import PlannerConfig


def test_every_model_with_every_number_of_rollouts_and_parents_once() -> None:
    got = entrants([NANO_PLANNER, NANO_PARENT], "fused", [1, 4, 4])
    assert got == (
        Entrant("nano-planner fused", NANO_PLANNER, "fused"),
        Entrant("nano-planner fused x4", NANO_PLANNER, "fused", {"rollouts": 4}),
        Entrant("nano-planner-ar ar", NANO_PARENT, "ar", parent=True),
    )


def test_a_model_decoded_with_ar_is_no_parent_by_that() -> None:
    assert not entrants([NANO_PLANNER], "ar", [1])[0].parent


def test_a_parent_may_be_named_and_equal_names_are_told_apart(tmp_path) -> None:
    a, b = tmp_path / "a" / "model", tmp_path / "b" / "model"
    assert entrants([a], "self-spec", [1], parents=[b]) == (
        Entrant(f"{a} self-spec", a, "self-spec"),
        Entrant(f"{b} ar", b, "ar", parent=True),
    )


@pytest.mark.parametrize(
    ("content", "parent"), [('{"stage": "ar"}', True), ('{"stage": "convert"}', False), ("[]", False), ("{", False)]
)
def test_who_is_a_parent(tmp_path, content, parent) -> None:
    (tmp_path / "training.json").write_text(content)
    assert is_parent(tmp_path) is parent
    assert is_parent(tmp_path / "none") is False


def test_blind_entrants_take_part_beside_those_who_see() -> None:
    assert entrants([NANO_PLANNER, NANO_PARENT], "fused", [1], blinded=[NANO_PARENT]) == (
        Entrant("nano-planner fused", NANO_PLANNER, "fused"),
        Entrant("nano-planner-ar ar", NANO_PARENT, "ar", parent=True),
        Entrant("nano-planner-ar ar blind", NANO_PARENT, "ar", blind=True),
    )
    assert entrants([NANO_PLANNER], "ar", [1], blinded=[NANO_PARENT])[1:] == (
        Entrant("nano-planner-ar ar blind", NANO_PARENT, "ar", blind=True),
    )


def test_who_was_trained_blind_never_sees(tmp_path) -> None:
    (tmp_path / "training.json").write_text('{"stage": "ar", "blind": true}')
    assert entrants([tmp_path], "fused", [1], blinded=[tmp_path]) == (
        Entrant(f"{tmp_path.name} ar blind", tmp_path, "ar", blind=True),
    )


@pytest.mark.parametrize("rollouts", [[], [0], [4, -1]])
def test_rollouts_are_counted_from_one(rollouts) -> None:
    with pytest.raises(InputError, match="from 1 on"):
        entrants([NANO_PLANNER], "self-spec", rollouts)


def job(*chosen: Entrant) -> Job:
    return Job(chosen, Path("none.npz"), "val", None, "float32")


def test_bad_jobs_are_refused_at_once(tmp_path) -> None:
    with pytest.raises(UnknownNameError, match="self-spec"):
        plan_all(job(Entrant("a", NANO_PLANNER, "selfspec")), 1)
    with pytest.raises(CheckpointError, match="planner"):
        plan_all(job(Entrant("a", tmp_path, "ar")), 1)
    with pytest.raises(InputError, match="at least one process"):
        plan_all(job(Entrant("a", NANO_PLANNER, "ar")), 1, workers=0)
    other = tmp_path / "other"
    shutil.copytree(NANO_PLANNER, other)
    config = json.loads((other / "planner.json").read_text())
    (other / "planner.json").write_text(json.dumps(config | {"image_size": [224, 224]}))
    assert PlannerConfig.load(other).image_size == (224, 224)
    with pytest.raises(InputError, match="one by one"):
        plan_all(job(Entrant("a", NANO_PLANNER, "ar"), Entrant("b", other, "ar")), 1)
