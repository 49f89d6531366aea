"""JSON schemas: every answer is valid, and none waits for ever, as it does on a stock diffusion server of SGLang 0.5.23."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from robotics.driving.answer import Answer
from tests.serving.requests import json_schema
from tests.serving.schemas import expect_valid


def test_every_answer_is_valid(client: Any) -> None:
    expect_valid(client, "edge")


def test_json_object_is_answered(client: Any) -> None:
    """Upstream the request waits in a queue that the diffusion scheduler never empties."""
    choice = client.chat.completions.create(
        model="edge",
        messages=[{"role": "user", "content": "hello"}],
        response_format={"type": "json_object"},
        temperature=0,
        max_tokens=64,
        timeout=60,
    ).choices[0]
    assert isinstance(json.loads(choice.message.content), dict)


def test_the_planners_answer_in_the_engines_words(client: Any, engine: Any) -> None:
    schema = Answer.model_json_schema()
    schema["properties"]["explanation"]["maxLength"] = 24
    a = {
        "messages": [{"role": "user", "content": "Plan."}],
        "temperature": 0,
        "max_tokens": 400,
        "response_format": json_schema(schema),
    }
    answer = client.chat.completions.create(model="edge", **a).choices[0].message.content
    Answer.model_validate_json(answer)
    assert answer == engine.generate(a["messages"], schema=schema, max_new_tokens=400).text


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "object", "properties": {"a": {"not": {}}}}, "not"),
        ({"type": "string", "maxLength": 900}, "max_new_tokens"),
        ({"type": "nothing"}, "type"),
    ],
)
def test_a_schema_that_cannot_be_honoured_is_refused(client: Any, schema: Any, says: str) -> None:
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(
            model="edge", messages=[{"role": "user", "content": "x"}], response_format=json_schema(schema), max_tokens=20
        )
    assert says in str(e.value)
