"""Stop strings, log-probabilities, rollouts apart and watching, on real checkpoints."""

from __future__ import annotations

import itertools

import pytest

import edge
from decoding.keywords import SchemaError
from edge.cli.zoo import NANO_PLANNER
from edge.core.errors import InputError, UnsupportedError
from edge.engine import Engine
from edge.stopping import LONGEST, check, cut

ASK = [{"role": "user", "content": "Plan the next five seconds."}]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"enum": ["left", "right"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["a", "n"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return edge.load(NANO_PLANNER)


@pytest.mark.parametrize("strategy", ["ar", "self-spec", "fused"])
def test_text_ends_before_the_first_stop_string(engine, strategy) -> None:
    whole = engine.generate(ASK, strategy="ar", max_new_tokens=60)
    for stop in (whole.text[5:7], whole.text[-3:], whole.text[10:30]):
        found = engine.generate(ASK, strategy=strategy, max_new_tokens=60, stop=[stop, "never said"])
        assert found.text == whole.text[: whole.text.index(stop)]
        assert found.finish_reason == "stop"
        assert found.tokens == whole.tokens[: len(found.tokens)]
        assert stop in engine.tokenizer.decode(found.tokens)
        assert stop not in engine.tokenizer.decode(found.tokens[:-1])
    assert engine.generate(ASK, strategy=strategy, max_new_tokens=60, stop=["never said"]).tokens == whole.tokens


@pytest.mark.parametrize("schema", [None, SCHEMA])
def test_logprobs_are_the_same_whoever_decodes(engine, schema) -> None:
    slow = engine.generate(ASK, strategy="ar", schema=schema, max_new_tokens=60, logprobs=2)
    for strategy in ("self-spec", "fused"):
        fast = engine.generate(ASK, strategy=strategy, schema=schema, max_new_tokens=60, logprobs=2)
        assert fast.tokens == slow.tokens
        assert [x.logprob for x in fast.logprobs] == pytest.approx([x.logprob for x in slow.logprobs], abs=1e-3)
        assert [x.token for x in fast.logprobs] == fast.tokens
    assert all(x.logprob <= 0 and len(x.top) <= 2 for x in slow.logprobs)
    assert any(x.logprob < 0 for x in slow.logprobs)


def test_rollouts_apart_are_requests_of_their_own(engine) -> None:
    for schema in (None, SCHEMA):
        common = {"schema": schema, "max_new_tokens": 40, "temperature": 1.0, "logprobs": 0, "stop": ["9"]}
        together = engine.generate(ASK, rollouts=3, fork_at=0, reducer=None, seed=5, **common)
        alone = [engine.generate(ASK, seed=5 + n, **common) for n in range(3)]
        assert [b.text for b in together.branches] == [a.text for a in alone]
        assert [b.finish_reason for b in together.branches] == [a.finish_reason for a in alone]
        for b, a in zip(together.branches, alone, strict=True):
            assert [x.logprob for x in b.logprobs] == pytest.approx([x.logprob for x in a.logprobs], abs=1e-3)


def test_whoever_watches_sees_decided_tokens_grow_and_may_end_it(engine) -> None:
    seen: list[list[int]] = []
    whole = engine.generate(ASK, max_new_tokens=40, watch=lambda c: seen.append(c[0].answer().tolist()))
    assert len(seen) == whole.forwards
    assert all(b[: len(a)] == a for a, b in itertools.pairwise(seen))
    assert seen[-1] == whole.tokens

    def leave(canvases) -> None:
        if canvases[0].answer().numel():
            raise InterruptedError

    with pytest.raises(InterruptedError):
        engine.generate(ASK, max_new_tokens=40, watch=leave)
    assert engine.generate(ASK, max_new_tokens=40).tokens == whole.tokens


@pytest.mark.parametrize(
    ("request_", "error", "said"),
    [
        ({"stop": [""]}, InputError, "not empty"),
        ({"stop": ["x"] * (LONGEST + 1)}, InputError, "up to 16"),
        ({"stop": [3]}, InputError, "strings"),
        ({"logprobs": 21}, InputError, "between 0 and 20"),
        ({"logprobs": 1, "strategy": "threshold"}, UnsupportedError, "causal decoding"),
        ({"rollouts": 2, "temperature": 1.0, "schema": SCHEMA, "stop": ["a"]}, InputError, "reducer=None"),
        ({"rollouts": 2, "reducer": None}, InputError, "temperature > 0"),
        ({"rollouts": 2, "temperature": 1.0}, UnsupportedError, "reducer=None"),
        ({"rollouts": 2, "temperature": 1.0, "schema": SCHEMA, "fork_at": 999}, InputError, "answer row below"),
        ({"schema": {"type": "object", "properties": {"x": {"not": {}}}}}, SchemaError, "not"),
    ],
)
def test_what_cannot_be_is_refused(engine, request_, error, said) -> None:
    with pytest.raises(error, match=said):
        engine.generate(ASK, **request_)


def test_cut() -> None:
    assert cut("abcab", ["ca", "b"]) == "a"
    assert cut("abc", ["x"]) == "abc"
    assert check("ab") == ("ab",)
