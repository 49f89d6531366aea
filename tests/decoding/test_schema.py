"""JSON schemas as answers: what is inside is always answered validly, what is outside is refused where it is."""

from __future__ import annotations

import json
import os
from random import Random
from typing import Literal

import pytest
import torch
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from decoding.autoregressive import autoregressive
from decoding.canvas import constrained
from decoding.loop import run
from decoding.rules import greedy, sampler
from decoding.scaffold import Scaffold
from decoding.schema import NumberFormat, SchemaError, compile, template
from decoding.self_speculative import self_speculative
from decoding.threshold import threshold
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError, UnsupportedError
from edge.core.types import Call, Reply
from tests.decoding.schemas import Words, inside, outside, words
from tests.decoding.slow_host import SlowHost, TinyTransformer

SMALL = os.environ.get("EDGE_CASES") == "small"
VALID, REFUSED, EXACT = (400, 400, 60) if SMALL else (10_000, 2_000, 1_000)


class Noise:
    """A host whose predictions are noise: whatever a model says, the answer has to be valid."""

    def __init__(self, seed: int, vocab: int) -> None:
        self.generator, self.vocab = torch.Generator().manual_seed(seed), vocab

    def forward(self, call: Call) -> Reply:
        return Reply(torch.randn(len(call.want), self.vocab, generator=self.generator) * 3)

    def keep(self, rows: torch.Tensor) -> None:
        pass


def spec(pad: bool) -> BlockSpec:
    w = words()
    return BlockSpec(block_size=8, mask_token_id=w.mask, pad_token_id=w.pad if pad else None, stop_ids=(w.stop,))


def options(r: Random) -> dict:
    """Padded or not, and formats of numbers."""
    w = words()
    numbers = NumberFormat(integer_digits=r.randint(1, 4), decimals=r.randint(0, 3), fixed_width=r.random() < 0.3)
    return {"pad_token_id": w.pad if r.random() < 0.5 else None, "stop_id": w.stop, "numbers": numbers}


def made(r: Random):
    """A random schema that is not refused for its bounds, compiled, and whether it is padded."""
    while True:
        schema, chosen = inside(r), options(r)
        try:
            return schema, compile(schema, words(), **chosen), chosen["pad_token_id"] is not None
        except SchemaError as e:
            assert "no number" in str(e)  # bounds so close that no number of these digits lies between  # noqa: PT017


def text_of(tokens: torch.Tensor) -> str:
    w = words()
    return w.decode([t for t in tokens.tolist() if t not in (w.pad, w.stop)])


@pytest.mark.parametrize("part", range(10))
def test_every_answer_parses_and_validates(part) -> None:
    """Random schemas, padded and not, under three strategies, with predictions that are noise."""
    for n in range(VALID // 10):
        r = Random(part * 1_000_000 + n)
        schema, constraint, pad = made(r)
        Draft202012Validator.check_schema(schema)
        strategy = r.choice([autoregressive, self_speculative, threshold])
        kwargs = {} if strategy is autoregressive else {"block_size": r.randint(2, 24)}
        canvas = constrained(torch.tensor([5, 6]), constraint, kwargs.get("block_size", 8))
        pick = r.choice([greedy, sampler(1.0, 0.95, n)])
        for _ in run(strategy(canvas, spec(pad), pick=pick, **kwargs), Noise(n, len(words()))):
            pass
        assert canvas.finish == "stop", schema
        text = text_of(canvas.answer())
        try:
            Draft202012Validator(schema).validate(json.loads(text))
        except ValueError as e:
            raise AssertionError(f"{strategy.__name__}: {text!r} for {json.dumps(schema)}: {e}") from e
        assert len(canvas.answer()) <= len(constraint)


def test_schemas_outside_are_refused_where_they_are() -> None:
    for n in range(REFUSED):
        schema, keyword, pointer = outside(Random(n))
        with pytest.raises(SchemaError) as e:
            compile(schema, words(), stop_id=words().stop)
        assert (e.value.keyword, e.value.pointer) == (keyword, pointer), schema
        assert "\n" not in str(e.value)


def test_self_speculation_equals_causal_decoding_under_any_schema() -> None:
    for n in range(EXACT):
        r = Random(10_000_000 + n)
        while True:
            schema, constraint, pad = made(r)
            if len(constraint) < 160:
                break
        model = TinyTransformer(n, len(words()), scale=r.choice([0.3, 1.0, 3.0]))
        pick = r.choice([greedy, sampler(r.uniform(0.3, 1.5), 0.9, n)])
        the_spec = spec(pad).model_copy(update={"draft_shift": r.randint(0, 1)})
        answers, forwards = [], []
        block = r.randint(2, 32)
        for strategy, kwargs in ((autoregressive, {}), (self_speculative, {"block_size": block})):
            canvas, host = constrained(torch.tensor([7, 8, 9]), constraint, block), SlowHost(model, the_spec)
            for _ in run(strategy(canvas, the_spec, pick=pick, **kwargs), host):
                pass
            answers.append(canvas.answer().tolist())
            forwards.append(host.forwards)
        assert answers[0] == answers[1], (schema, pad)
        assert forwards[1] <= 2 * forwards[0]


class Plan(BaseModel):
    model_config = {"extra": "forbid"}
    kind: Literal["left", "straight on"]
    speed_mps: float
    objects: tuple[bool, bool]


def test_pydantic_models_are_accepted() -> None:
    constraint = compile(Plan, words(), pad_token_id=words().pad, stop_id=words().stop)
    assert isinstance(constraint, Scaffold)
    assert [s.name for s in constraint.sections] == ["kind", "speed_mps", "objects"]
    canvas = constrained(torch.tensor([5]), constraint, 8)
    for _ in run(self_speculative(canvas, spec(True)), Noise(0, len(words()))):
        pass
    Plan.model_validate_json(text_of(canvas.answer()))


def test_sections_may_stand_in_another_order() -> None:
    names = ["speed_mps", "objects", "kind"]
    found = template(Plan, order=names)
    assert [s.name for s in found.sections] == names
    with pytest.raises(InputError, match="every section once"):
        template(Plan, order=["kind"])


def test_budgets_are_by_section_or_by_place() -> None:
    text = {"type": "string"}
    inner = {"type": "object", "properties": {"a": text, "b": text}, "additionalProperties": False}
    schema = {"type": "object", "properties": {"p": inner, "q": {"type": "string", "maxLength": 40}}, "additionalProperties": False}
    found = template(schema, budgets={"p": 3, "/p/b": 7})
    assert [h.model_dump(exclude={"kind"}) for _, h in found.holes()] == [
        {"budget": 3, "max_chars": None},
        {"budget": 7, "max_chars": None},
        {"budget": 40, "max_chars": 40},
    ]
    with pytest.raises(SchemaError, match="maxLength"):
        template(schema)
    with pytest.raises(InputError, match="at least 1 token"):
        template(schema, budgets={"p": 0})


def test_a_string_closes_within_its_code_points_and_never_cuts_a_character() -> None:
    schema = {"type": "string", "maxLength": 4}
    for pad in (None, words().pad):
        constraint = compile(schema, words(), pad_token_id=pad, stop_id=words().stop)
        seen = set()
        for n in range(200):
            canvas = constrained(torch.tensor([5]), constraint, 8)
            for _ in run(autoregressive(canvas, spec(pad is not None), pick=sampler(1.0, 1.0, n)), Noise(n, len(words()))):
                pass
            value = json.loads(text_of(canvas.answer()))
            assert len(value) <= 4
            assert "\ufffd" not in value
            seen.add(len(value))
        assert {3, 4} <= seen


def test_the_driving_schema_gives_the_rows_of_the_driving_template() -> None:
    """A fixed-width pattern and enums compile to what is written by hand for the same answer."""
    number = r"[+-]\d{3}\.\d{2}"
    schema = {
        "type": "object",
        "properties": {"go": {"enum": ["left", "right"]}, "path": {"type": "string", "pattern": rf"\[{number}, {number}\]"}},
        "additionalProperties": False,
    }
    found = compile(schema, words(), pad_token_id=words().pad, stop_id=words().stop)
    assert isinstance(found, Scaffold)
    opened = [found.static[r].nonzero().flatten().numel() for r in (~found.frozen).nonzero().flatten().tolist()]
    assert opened[-12:] == [2, 10, 10, 10, 10, 10, 2, 10, 10, 10, 10, 10]


def test_without_padding_an_answer_needs_a_stop_token_to_end_with_a_number() -> None:
    with pytest.raises(UnsupportedError, match="needs a stop token"):
        compile({"type": "integer"}, words())


def test_transformers_tokenizers_are_taken_as_they_are() -> None:
    from transformers import PreTrainedTokenizerFast

    ours: Words = words()
    theirs = PreTrainedTokenizerFast(tokenizer_object=ours.bpe, pad_token="<|pad|>", eos_token="<|stop|>")
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "additionalProperties": False}
    a, b = (compile(schema, t, pad_token_id=ours.pad, stop_id=ours.stop) for t in (ours, theirs))
    assert isinstance(a, Scaffold)
    assert isinstance(b, Scaffold)
    assert torch.equal(a.static, b.static)
