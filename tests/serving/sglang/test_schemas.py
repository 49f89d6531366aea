"""JSON schemas: every answer is valid, and none waits for ever, as it does on a stock diffusion server of SGLang 0.5.23."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import openai
import pytest

from robotics.driving.answer import Answer
from tests.serving.requests import BOUNDED, PROMPTS, UNBOUNDED, json_schema, picture, uri
from tests.serving.sglang.conftest import FULL

COUNT = 500 if FULL else 40


def arguments(n: int) -> dict[str, Any]:
    schema = (*BOUNDED, *UNBOUNDED)[n % 6]
    prompt: Any = f"{PROMPTS[n % 8]} {n}"
    if n % 5 == 0:
        prompt = [{"type": "image_url", "image_url": {"url": uri(picture(n))}}, {"type": "text", "text": prompt}]
    sampled = {"temperature": 0.9, "seed": n} if n % 3 == 0 else {"temperature": 0}
    return {"messages": [{"role": "user", "content": prompt}], "response_format": json_schema(schema), "max_tokens": 80, **sampled}


def check(client: Any, n: int) -> None:
    a = arguments(n)
    choice = client.chat.completions.create(model="edge", timeout=300, **a).choices[0]
    assert choice.finish_reason == "stop", (n, choice)
    jsonschema.validate(json.loads(choice.message.content), a["response_format"]["json_schema"]["schema"])


def test_every_answer_is_valid(client: Any) -> None:
    for n in range(COUNT // 2):
        check(client, n)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: check(client, n), range(COUNT // 2, COUNT)))


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
