"""OpenAI's client, unmodified, against a real server: what it gets is what the engine says."""

from __future__ import annotations

import json
import time

import jsonschema
import openai
import pytest

import edge
from edge.cli.zoo import NANO_PLANNER
from edge.engine import Engine
from tests.edge.test_stopping import ASK, SCHEMA
from tests.serving.conftest import Running, data_uri, picture

FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Another engine, which nobody's requests went through before."""
    return edge.load(NANO_PLANNER, dtype="float32")


def test_text_is_that_of_causal_decoding(client: openai.OpenAI, engine: Engine) -> None:
    expected = engine.generate(ASK, strategy="ar", max_new_tokens=40)
    for strategy in ("self-spec", "fused", "ar"):
        extra = {"edge": {"strategy": strategy}}
        found = client.chat.completions.create(model="nano", messages=ASK, max_tokens=40, extra_body=extra)  # type: ignore[arg-type]
        assert found.choices[0].message.content == expected.text
        assert found.choices[0].finish_reason == expected.finish_reason
        assert found.usage.completion_tokens == len(expected.tokens)
        assert found.usage.prompt_tokens == expected.prompt_tokens
        assert found.edge["lossless"]
        assert found.edge["strategy"] == strategy


def test_images_are_seen(client: openai.OpenAI, engine: Engine) -> None:
    pictures = [picture(n) for n in range(2)]
    parts = [{"type": "image_url", "image_url": {"url": data_uri(p)}} for p in pictures]
    text = {"type": "text", "text": "Plan."}
    found = client.chat.completions.create(model="nano", messages=[{"role": "user", "content": [*parts, text]}], max_tokens=30)
    ask = [{"role": "user", "content": [{"type": "image"}, {"type": "image"}, text]}]
    expected = engine.generate(ask, images=pictures, strategy="ar", max_new_tokens=30)
    assert found.choices[0].message.content == expected.text
    assert found.usage.prompt_tokens == expected.prompt_tokens > 40


def test_schemas_are_followed(client: openai.OpenAI, engine: Engine) -> None:
    found = client.chat.completions.create(model="nano", messages=ASK, response_format=FORMAT)
    assert found.choices[0].message.content == engine.generate(ASK, strategy="ar", schema=SCHEMA).text
    jsonschema.validate(json.loads(found.choices[0].message.content), SCHEMA)
    assert found.choices[0].finish_reason == "stop"
    found = client.chat.completions.create(model="nano", messages=ASK, response_format={"type": "json_object"}, max_tokens=60)
    assert isinstance(json.loads(found.choices[0].message.content), dict)


def test_choices_are_requests_with_seeds_of_their_own(client: openai.OpenAI, engine: Engine) -> None:
    for form, schema in ((None, None), (FORMAT, SCHEMA)):
        extra = {} if form is None else {"response_format": form}
        found = client.chat.completions.create(model="nano", messages=ASK, n=3, temperature=1.0, seed=7, max_tokens=40, **extra)
        expected = [engine.generate(ASK, schema=schema, temperature=1.0, seed=7 + k, max_new_tokens=40) for k in range(3)]
        assert [c.message.content for c in found.choices] == [e.text for e in expected]
        assert [c.finish_reason for c in found.choices] == [e.finish_reason for e in expected]
    same = client.chat.completions.create(model="nano", messages=ASK, n=3, max_tokens=10)
    assert len({c.message.content for c in same.choices}) == 1


def test_stop_strings_end_the_text(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="nano", messages=ASK, max_tokens=60).choices[0].message.content
    stop = whole[len(whole) // 2 :][:4]
    found = client.chat.completions.create(model="nano", messages=ASK, max_tokens=60, stop=[stop, "never"])
    assert found.choices[0].message.content == whole[: whole.index(stop)]
    assert found.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"n": 2, "temperature": 1.0, "seed": 3},
        {"response_format": FORMAT},
        {"stop": [", "]},
        {"n": 2, "temperature": 1.0, "response_format": FORMAT},
        {"n": 2},
    ],
)
def test_a_stream_is_the_whole_reply_in_pieces(client: openai.OpenAI, more: dict) -> None:
    common = {"model": "nano", "messages": ASK, "max_tokens": 50, **more}
    whole = client.chat.completions.create(**common)
    texts, reasons, pieces, usage = {}, {}, 0, None
    for chunk in client.chat.completions.create(**common, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for c in chunk.choices:
            if c.index not in texts:
                assert c.delta.role == "assistant"
            texts[c.index] = texts.get(c.index, "") + (c.delta.content or "")
            reasons[c.index] = c.finish_reason
            pieces += bool(c.delta.content)
    assert texts == {c.index: c.message.content for c in whole.choices}
    assert reasons == {c.index: c.finish_reason for c in whole.choices}
    assert usage.completion_tokens == whole.usage.completion_tokens
    if not more:
        assert pieces > 2


def test_a_canvas_stream_also_tells_of_guesses(served: Running) -> None:
    body = {"messages": ASK, "max_tokens": 30, "stream": True, "edge": {"stream": "canvas"}}
    lines = [x[6:] for x in served.post("/v1/chat/completions", json=body).text.splitlines() if x.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(x) for x in lines[:-1]]
    records = [c["edge"] for c in chunks if "edge" in c]
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert said == served.server.engine.generate(ASK, max_new_tokens=30).text
    assert {"prefill", "draft", "verify"} <= {r["kind"] for r in records}
    assert any("g" in r["states"] for r in records)


def test_logprobs_come_from_the_verifier(client: openai.OpenAI, engine: Engine) -> None:
    found = client.chat.completions.create(model="nano", messages=ASK, max_tokens=20, logprobs=True, top_logprobs=2)
    expected = engine.generate(ASK, strategy="ar", max_new_tokens=20, logprobs=2)
    content = found.choices[0].logprobs.content
    assert [c.logprob for c in content] == pytest.approx([x.logprob for x in expected.logprobs], abs=1e-3)
    assert [len(c.top_logprobs) for c in content] == [2] * len(content)
    assert "".join(c.token for c in content) == found.choices[0].message.content


def test_text_completions(client: openai.OpenAI, engine: Engine) -> None:
    ids = engine.tokenizer.encode("Plan the next")
    expected = engine.generate(ids, strategy="ar", max_new_tokens=12)
    for prompt in ("Plan the next", ids):
        found = client.completions.create(model="nano", prompt=prompt, max_tokens=12, logprobs=1)
        assert found.choices[0].text == expected.text
        assert len(found.choices[0].logprobs.tokens) == 12
    streamed = client.completions.create(model="nano", prompt="Plan the next", max_tokens=12, stream=True)
    assert "".join(c.choices[0].text for c in streamed if c.choices) == expected.text


def test_a_repeated_prompt_is_not_computed_again(client: openai.OpenAI) -> None:
    ask = [{"role": "user", "content": "A prompt that nobody else sends."}]
    first = client.chat.completions.create(model="nano", messages=ask, max_tokens=5)
    again = client.chat.completions.create(model="nano", messages=ask, max_tokens=5, n=4, temperature=1.0)
    assert first.usage.prompt_tokens_details.cached_tokens < first.usage.prompt_tokens - 8
    assert again.usage.prompt_tokens_details.cached_tokens == first.usage.prompt_tokens - 1


def test_a_deadline_is_told_of(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"why": {"type": "string", "maxLength": 40}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["why", "n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    extra = {"edge": {"deadline_ms": 0.0}}
    found = client.chat.completions.create(model="nano", messages=ASK, response_format=form, extra_body=extra)
    jsonschema.validate(json.loads(found.choices[0].message.content), schema)
    assert not found.edge["lossless"]
    assert found.edge["finish_reasons"] == ["deadline"]


def test_models_health_metrics(client: openai.OpenAI, served: Running) -> None:
    assert [m.id for m in client.models.list()] == ["nano"]
    assert served.get("/health").json() == {"status": "live"}
    assert served.get("/ready").json()["ready"]
    before = served.get("/metrics").text
    client.chat.completions.create(model="nano", messages=ASK, max_tokens=5)
    after = served.get("/metrics").text
    for name in ("edge_phase_ms_bucket", "edge_forwards_count", "edge_tokens_per_forward", "edge_accept_length", "edge_waiting"):
        assert name in after
    assert before != after
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        client.chat.completions.create(model="gpt", messages=ASK)


def test_a_client_that_leaves_frees_the_engine(served: Running) -> None:
    import httpx

    engine = served.server.engine
    started = time.perf_counter()
    engine_ms = engine.generate(ASK, max_new_tokens=600, strategy="ar").timings["total"]
    for stream in (False, True):
        with pytest.raises(httpx.TimeoutException):
            httpx.post(
                f"{served.url}/v1/chat/completions",
                json={"messages": ASK, "max_tokens": 3000, "stream": stream, "edge": {"strategy": "ar"}},
                timeout=httpx.Timeout(0.3, read=0.3 if not stream else 1e-4),
            )
        end = time.monotonic() + 10
        while served.server.worker.running and time.monotonic() < end:
            time.sleep(0.01)
        assert not served.server.worker.running
    assert time.perf_counter() - started < engine_ms / 1e3 * 5 + 20
    assert served.post("/v1/chat/completions", json={"messages": ASK, "max_tokens": 5}).status_code == 200
