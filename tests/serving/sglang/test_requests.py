"""What is not honoured is refused with 400, and the cache is shared."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.serving.requests import BOUNDED, PROMPTS, json_schema, picture, uri
from tests.serving.sglang.ask import forwards, told

HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"logprobs": True}, "return_logprob"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"logit_bias": {"5": 3.0}}, "logit_bias"),
        ({"extra_body": {"regex": "a+"}}, "regex"),
        ({"extra_body": {"ebnf": 'root ::= "a"'}}, "ebnf"),
        ({"extra_body": {"top_k": 5}}, "top_k"),
        ({"extra_body": {"min_p": 0.1}}, "min_p"),
        ({"extra_body": {"repetition_penalty": 1.2}}, "repetition_penalty"),
        ({"extra_body": {"min_tokens": 3}}, "min_new_tokens"),
        ({"extra_body": {"custom_params": {"edge": {"unheard": 1}}}}, "unheard"),
        ({"extra_body": {"custom_params": {"edge": {"fork_at": "x"}}}}, "schema"),
    ],
)
def test_what_is_not_honoured_is_refused(client: Any, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model="edge", messages=HELLO, max_tokens=4, **arguments)
    assert says in str(e.value)


def test_after_a_refusal_the_next_request_is_answered(client: Any) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="edge", messages=HELLO, max_tokens=4, logprobs=True)
    assert client.chat.completions.create(model="edge", messages=HELLO, max_tokens=4).choices[0].finish_reason == "length"


def test_who_leaves_is_not_waited_for(client: Any, engine: Any) -> None:
    stream = client.chat.completions.create(model="edge", messages=HELLO, temperature=0, max_tokens=600, stream=True)
    next(iter(stream))
    stream.close()
    answer = client.chat.completions.create(model="edge", messages=HELLO, temperature=0, max_tokens=12).choices[0].message.content
    assert answer == engine.generate(HELLO, max_new_tokens=12).text


def cached(choice: dict[str, Any]) -> int:
    return choice["meta_info"]["cached_tokens"]


def image_prompt(number: int, text: str) -> list[dict[str, Any]]:
    parts = [{"type": "image_url", "image_url": {"url": uri(picture(number + k))}} for k in range(3)]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def test_a_repeated_prompt_is_not_encoded_again(client: Any) -> None:
    for messages in ([{"role": "user", "content": "once more " * 20}], image_prompt(100, "and these")):
        a = {"messages": messages, "temperature": 0, "max_tokens": 8}
        first, second = told(client, a)[0], told(client, a)[0]
        prompt = first["meta_info"]["prompt_tokens"]
        assert cached(first) < prompt // 2
        assert cached(second) == prompt - 1  # the last row is computed again, for its prediction
        assert second["message"]["content"] == first["message"]["content"]


def test_usage_says_what_was_cached(client: Any) -> None:
    a = {"messages": [{"role": "user", "content": "usage " * 10}], "temperature": 0, "max_tokens": 4, "model": "edge"}
    client.chat.completions.create(**a)
    usage = client.chat.completions.create(**a).usage
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1


def test_four_answers_share_their_prompt(client: Any) -> None:
    a = {"messages": image_prompt(200, "four"), "temperature": 0.9, "seed": 1, "n": 4, "max_tokens": 12}
    answers = told(client, a)
    assert [cached(c) for c in answers] == [answers[0]["meta_info"]["prompt_tokens"] - 1] * 4
    assert len({c["message"]["content"] for c in answers}) > 1


def test_a_prompt_is_encoded_in_one_forward(client: Any) -> None:
    for messages in ([{"role": "user", "content": PROMPTS[6] + " at length " * 60}], image_prompt(300, "one")):
        marks = told(client, {"messages": messages, "temperature": 0, "max_tokens": 4})[0]["meta_info"]["edge_forwards"]
        assert marks[0] == 3  # the prompt, a draft, a check


def test_without_a_seed_samples_differ(client: Any) -> None:
    a = {"messages": HELLO, "temperature": 1.5, "max_tokens": 24, "model": "edge"}
    assert len({client.chat.completions.create(**a).choices[0].message.content for _ in range(3)}) > 1


def test_answers_part_at_a_section(client: Any, engine: Any) -> None:
    """Shared sections are decoded once; every answer goes on from there with a seed of its own."""
    schema = BOUNDED[1]
    a = {
        "messages": image_prompt(400, "fork"),
        "temperature": 1.5,
        "seed": 3,
        "n": 4,
        "max_tokens": 60,
        "response_format": json_schema(schema),
    }
    section = engine.constraint(schema).sections[-1].name
    extra = {"return_meta_info": True, "custom_params": {"edge": {"fork_at": section}}}
    answers = client.chat.completions.create(model="edge", extra_body=extra, **a).model_dump()["choices"]
    texts = [c["message"]["content"] for c in answers]
    images = [picture(400 + k) for k in range(3)]
    messages = [{"role": "user", "content": [*({"type": "image"} for _ in images), {"type": "text", "text": "fork"}]}]
    g = engine.generate(
        messages,
        images=images,
        schema=schema,
        max_new_tokens=60,
        temperature=1.5,
        seed=3,
        rollouts=4,
        fork_at=section,
        block_size=32,
    )
    assert texts == [b.text for b in g.branches]
    alone = engine.generate(messages, images=images, schema=schema, max_new_tokens=60, block_size=32).forwards
    assert all(forwards(c) < alone for c in answers)
