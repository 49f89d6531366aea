"""Schemas with unbounded parts through the engine: the tokenizer of a shipped checkpoint, on random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from jsonschema import Draft202012Validator
from transformers import Qwen2Config, Qwen2ForCausalLM

import edge
from decoding.grammar import Grammar
from decoding.keywords import SchemaError
from edge.core.errors import InputError, UnsupportedError
from edge.engine import Engine

ZOO = Path(__file__).parents[2] / "edge/zoo/nano-planner"
STOP, MASK, PAD, VOCAB = 544, 549, 550, 576
OBJECT = {"type": "object", "additionalProperties": False}
SCHEMA = OBJECT | {
    "properties": {
        "why": {"type": "string"},
        "seen": {"type": "array", "items": {"enum": ["car", "cart", "truck →"]}},
        "speed_mps": {"type": "number", "exclusiveMinimum": 0},
        "note": {"type": "string"},
    },
    "required": ["why", "seen", "speed_mps"],
}
LOSSLESS = [("self-spec", {}), ("self-spec", {"block_size": 3}), ("fused", {}), ("fused", {"lagged": False, "branches": 2})]


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Engine:
    """Random weights over the shipped tokenizer: the model has more ids (576) than that (551)."""
    folder = tmp_path_factory.mktemp("model")
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=48,
        max_position_embeddings=600,
        tie_word_embeddings=False,
    )
    config.block_diffusion = {
        "block_size": 8,
        "mask_token_id": MASK,
        "pad_token_id": PAD,
        "stop_ids": [STOP],
        "position_mode": "rope",
        "draft_shift": 1,
    }
    model = Qwen2ForCausalLM(config)
    g = torch.Generator().manual_seed(5)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=g) * 0.3 + (1.0 if p.dim() == 1 else 0.0)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(ZOO / file, folder)
    return edge.load(folder, dtype="float64")


@pytest.mark.parametrize(("temperature", "max_new_tokens"), [(0.0, 70), (1.0, 70), (1.0, 140)])
def test_lossless_strategies_give_what_ar_gives(engine, temperature, max_new_tokens) -> None:
    common = {"schema": SCHEMA, "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": 3}
    ar = engine.generate([5, 6, 7], strategy="ar", **common)
    assert (ar.finish_reason, ar.lossless) == ("stop", True)
    assert len(ar.tokens) <= max_new_tokens
    Draft202012Validator(SCHEMA).validate(json.loads(ar.text))
    for strategy, options in LOSSLESS:
        other = engine.generate([5, 6, 7], strategy=strategy, **common, **options)
        assert (other.tokens, other.finish_reason, other.lossless) == (ar.tokens, "stop", True)


@pytest.mark.parametrize("strategy", ["threshold", "factor", "entropy-bound", "static", "dcd"])
def test_lossy_strategies_wait_for_the_rows_before(engine, strategy) -> None:
    answer = engine.generate([5, 6], strategy=strategy, schema=SCHEMA, max_new_tokens=90)
    assert (answer.finish_reason, answer.lossless) == ("stop", False)
    Draft202012Validator(SCHEMA).validate(json.loads(answer.text))


def test_special_and_unused_ids_never_stand_in_an_answer(engine) -> None:
    """Where a string may hold anything: all ids that are text and legal there, and no other."""
    made = engine.constraint({"type": "string"})
    assert isinstance(made, Grammar)
    quote = engine.tokenizer.encode('"')
    rows = made.within(100)
    ids = rows.cursor(1, torch.tensor(quote + [0] * 99)).ids()
    assert int(ids.max()) < 542, "from there on they are special, and from 551 on there is no token"
    for i in ids.tolist():
        text = engine.tokenizer.decode([i])
        assert text
        assert "\n" not in text
    letters = {i for i in range(526) if engine.tokenizer.decode([i]).isalpha() and "\ufffd" not in engine.tokenizer.decode([i])}
    assert letters <= set(ids.tolist())


def test_a_token_is_the_bytes_that_the_tokenizer_writes_for_it(engine) -> None:
    told = engine.tokenizer.token_bytes()
    assert told is not None
    assert all(told[i] is None for i in range(542, 551))
    for i in range(542):
        piece = told[i]
        assert piece is not None
        assert engine.tokenizer.decode([i]) == piece.decode(errors="replace")
    text = 'größer → "東京"\t{"a": [1, 2]} \U0001f697'
    assert b"".join(told[i] or b"" for i in engine.tokenizer.encode(text)).decode() == text


def test_one_schema_is_compiled_once(engine) -> None:
    assert engine.constraint(dict(SCHEMA)) is engine.constraint(json.loads(json.dumps(SCHEMA)))


@pytest.mark.parametrize("strategy", ["ar", "self-spec", "fused"])
def test_traces_see_every_forward(engine, strategy) -> None:
    records: list = []
    plain = engine.generate([5, 6], strategy=strategy, schema=SCHEMA, max_new_tokens=90)
    answer = engine.generate([5, 6], strategy=strategy, schema=SCHEMA, max_new_tokens=90, trace=records.append)
    assert answer.tokens == plain.tokens
    assert len(records) == answer.forwards
    written = {row: token for r in records for row, token, *_ in r.written}
    assert [written[row] for row in range(len(answer.tokens))] == answer.tokens


@pytest.mark.parametrize("strategy", ["ar", "self-spec", "fused"])
def test_a_late_answer_ends_soon_and_is_valid(engine, strategy) -> None:
    long = {"type": "array", "items": {"type": "string"}, "minItems": 3}
    whole = engine.generate([5, 6], strategy=strategy, schema=long, max_new_tokens=300)
    late = engine.generate([5, 6], strategy=strategy, schema=long, max_new_tokens=300, deadline_ms=0)
    made = engine.constraint(long)
    assert (late.finish_reason, late.lossless, late.skipped_sections) == ("deadline", False, ())
    assert len(late.tokens) <= len(made.way) + made.reserve
    assert len(late.tokens) < len(whole.tokens)
    Draft202012Validator(long).validate(json.loads(late.text))
    in_time = engine.generate([5, 6], strategy=strategy, schema=long, max_new_tokens=300, deadline_ms=1e9)
    assert (in_time.tokens, in_time.finish_reason, in_time.lossless) == (whole.tokens, "stop", True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rollouts": 2, "temperature": 1.0}, UnsupportedError, "give a schema of bounded size"),
        ({"sections": ["why"]}, InputError, "sections are those of a schema whose answers have a longest form"),
        ({"strategy": "section-diffusion"}, UnsupportedError, "whose rows have no fixed places"),
        ({"max_new_tokens": 3}, InputError, "an answer to the schema may need .* tokens: max_new_tokens is 3; raise it"),
        ({"schema": OBJECT | {"properties": {"a": {"type": "string"}, "b": {"not": {}}}}}, SchemaError, "/properties/b"),
    ],
)
def test_refusals_are_one_line(engine, options, error, message) -> None:
    with pytest.raises(error, match=message) as e:
        engine.generate([5, 6], **({"schema": SCHEMA} | options))
    assert "\n" not in str(e.value)
