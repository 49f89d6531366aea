"""The answer's text, its parser and its trajectory coding."""

import json

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge.core.errors import CheckpointError, InputError
from robotics.driving import answer as a

WAYPOINTS = np.array([[14.70, -0.04], [29.55, -0.21], [44.2, -0.5], [58.9, -0.9], [73.3, -1.3]])
LABELS = a.Labels(frozenset({"nearby_vehicle"}), "road ahead is free", "keep speed", "go straight")


def text(coded=WAYPOINTS, labels=LABELS) -> str:
    return a.fill(a.driving_template(), a.values(labels, coded))


def test_the_text_is_the_pinned_form() -> None:
    raw = json.loads(text())
    assert list(raw) == ["critical_objects", "explanation", "future_meta_behavior", "trajectory"]
    assert tuple(raw["critical_objects"]) == a.CRITICAL_OBJECTS
    assert raw["trajectory"].startswith("[[ +014.70, -000.04], [ +029.55, -000.21], [ ")
    assert text() == json.dumps(raw)  # so a template row never differs from what json.dumps writes


def test_sections_and_holes() -> None:
    template = a.driving_template(7)
    assert [s.name for s in template.sections] == ["critical_objects", "explanation", "future_meta_behavior", "trajectory"]
    assert len(template.holes()) == 25 == len(a.values(LABELS, WAYPOINTS))


coordinates = arrays(np.float64, (5, 2), elements=st.floats(-999.99, 999.99))


@given(coordinates, st.sets(st.sampled_from(a.CRITICAL_OBJECTS)))
def test_what_is_written_is_read(coded, objects) -> None:
    labels = a.Labels(frozenset(objects), "standing", "stop", "turn left")
    got = a.parse(text(coded, labels))
    np.testing.assert_allclose(got.coded(), coded, atol=0.0051)
    assert {k for k, v in got.critical_objects.model_dump().items() if v == "yes"} == objects
    assert got.explanation == "standing"
    assert "-000.00" not in got.trajectory
    jsonschema.validate(got.model_dump(), a.Answer.model_json_schema())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"nearby_vehicle": "yes"', '"nearby_vehicle": "maybe"'),
        ('"nearby_vehicle": "yes"', '"nearby_car": "yes"'),
        ('"nearby_vehicle": "yes", ', ""),
        ('"explanation"', '"explanation": "", "explanation"'),
        ('"explanation"', '"thought": "", "explanation"'),
        ('"keep speed"', '"keep_speed"'),
        ("+014.70", "+014.7"),
        ("+014.70", "+014.7O"),
        ("+014.70", "    nan"),
        ("[ +029.55, -000.21], ", ""),
        ("]]", "], [ +000.00, +000.00]]"),
        ("}", ""),
    ],
)
def test_anything_else_is_refused_in_one_line(old: str, new: str) -> None:
    broken = text().replace(old, new)
    assert broken != text()
    with pytest.raises(InputError) as e:
        a.parse(broken)
    assert "\n" not in str(e.value)
    if json_or_none(broken) is not None:
        schema_rejects = not jsonschema.Draft202012Validator(a.Answer.model_json_schema()).is_valid(json.loads(broken))
        assert schema_rejects or '"explanation": "", ' in broken  # a doubled key is gone before a schema can see it


def json_or_none(s: str):
    try:
        return json.loads(s)
    except ValueError:
        return None


@pytest.mark.parametrize("raw", ["", "null", "[]", "NaN", "[" * 10**5])
def test_other_json_is_refused(raw: str) -> None:
    with pytest.raises(InputError):
        a.parse(raw)


def test_format_trajectory_is_what_the_answer_holds() -> None:
    assert json.loads(text())["trajectory"] == a.format_trajectory(WAYPOINTS)


def test_planner_file_round_trip(tmp_path) -> None:
    config = a.PlannerConfig(coding=a.TrajectoryCoding(kind="absolute", resolution_m=0.01), image_size=(56, 84))
    config.save(tmp_path)
    assert json.loads((tmp_path / "planner.json").read_text())["schema"] == "planner/1"
    assert a.PlannerConfig.load(tmp_path) == config
    (tmp_path / "planner.json").write_text('{"schema": "planner/2"}')
    with pytest.raises(CheckpointError, match="schema"):
        a.PlannerConfig.load(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        a.PlannerConfig.load(tmp_path / "other")
