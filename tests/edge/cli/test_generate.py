"""`edge generate` end to end, on the shipped planner: any schema is answered in its form, though it was trained on one."""

from __future__ import annotations

import json

import jsonschema
import pytest

from edge.cli.main import run
from edge.cli.zoo import NANO_PLANNER

SCHEMA = {
    "type": "object",
    "properties": {
        "weather": {"enum": ["sunny", "rain"]},
        "speed_mps": {"type": "number", "minimum": 0, "maximum": 40},
        "lanes": {"type": "integer", "minimum": 1, "maximum": 6},
        "note": {"type": "string", "maxLength": 8},
    },
    "required": ["weather", "speed_mps", "lanes", "note"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("strategy", ["ar", "self-spec", "fused", "threshold"])
def test_an_answer_follows_the_schema(tmp_path, strategy, capfd) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    argv = ["generate", "--model", str(NANO_PLANNER), "--prompt", "What do you see?", "--schema", str(tmp_path / "s.json")]
    assert run([*argv, "--strategy", strategy]) == 0
    out, err = capfd.readouterr()
    jsonschema.validate(json.loads(out), SCHEMA)
    assert "forwards" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("{", "not valid JSON"),
        ("[]", "a schema is a JSON object, got list"),
        ('{"type": "string", "not": {}}', "schema /not: 'not' is not supported"),
        ('{"anyOf": []}', "schema /anyOf: Unsatisfiable schema: anyOf is empty"),
    ],
)
def test_bad_schemas_get_one_line(tmp_path, content, message, capfd) -> None:
    if content is not None:
        (tmp_path / "s.json").write_text(content)
    assert run(["generate", "--model", str(NANO_PLANNER), "--prompt", "x", "--schema", str(tmp_path / "s.json")]) == 2
    err = capfd.readouterr().err
    assert message in err
    assert err.count("\n") == 1
