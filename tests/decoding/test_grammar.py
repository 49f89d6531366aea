"""Schemas with unbounded parts: every answer is valid within its rows, and every lossless strategy gives that of `ar`."""

from __future__ import annotations

import dataclasses
import json
import os
from contextlib import suppress
from functools import cache
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from decoding.autoregressive import autoregressive
from decoding.canvas import constrained
from decoding.deadline import ForwardBudget, hurried
from decoding.grammar import Grammar, GrammarRows
from decoding.loop import run
from decoding.rules import greedy, sampler
from decoding.schema import SchemaError, template
from decoding.threshold import threshold
from decoding.unbounded import compile
from decoding.vocabulary import Vocabulary
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError, UnsupportedError
from edge.core.types import Canvas
from edge.models.text import bytes_of
from tests.decoding.schemas import BREAKS, Words, words
from tests.decoding.slow_host import SlowHost, TinyTransformer
from tests.decoding.test_exactness import FORMS
from tests.decoding.test_schema import Noise

SMALL = os.environ.get("EDGE_CASES") == "small"
VALID, EXACT, AGAIN, TWINS = (57, 5, 4, 12) if SMALL else (2_000, 200, 200, 200)


class Bytes(Words):
    """Words that knows the bytes of its ids, parts of characters too."""

    def token_bytes(self) -> list[bytes | None]:
        return [None if i in (self.pad, self.stop, self.mask) else bytes_of(self.bpe.id_to_token(i)) for i in range(len(self))]


@cache
def tokenizer() -> Bytes:
    return Bytes()


@cache
def vocabulary() -> Vocabulary:
    t = tokenizer()
    return Vocabulary(t, vocab_size=len(t), stop_id=t.stop, never=[t.mask, t.pad])


def closed(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    needed = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
_NODE = closed(["name"], name=TEXT, below={"type": "array", "items": {"$ref": "#/$defs/node"}})
SCHEMAS: dict[str, dict[str, Any]] = {
    "text": TEXT,
    "whole": WHOLE,
    "text in an object": closed(say=TEXT, done={"type": "boolean"}),
    "long text": closed(say={"type": "string", "minLength": 30}),
    "objects": closed(objects={"type": "array", "items": closed(kind={"enum": ["car", "cart", "caravan"]}, speed_mps=WHOLE)}),
    "some": {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 4},
    "optional": closed(["b"], a=WHOLE, b=TEXT, c={"type": "array", "items": {"type": "boolean"}}, d={"type": "null"}),
    "open": {"type": "object", "properties": {"état": WHOLE}, "additionalProperties": {"type": ["number", "null"]}},
    "anything": {},
    "common beginnings": closed(go={"enum": ["left turn", "left", "left turn now", "straight → 東京", 1, 12, None]}, why=TEXT),
    "either": {"anyOf": [closed(path={"type": "array", "items": WHOLE, "minItems": 3}), closed(stop=TEXT), {"type": "null"}]},
    "one of": closed(act={"oneOf": [closed(k={"const": "go"}, v=WHOLE), closed(k={"const": "say"}, t=TEXT)]}),
    "tree": {"$ref": "#/$defs/node", "$defs": {"node": _NODE}},
    "patterns": closed(plate={"type": "string", "pattern": "^[A-Z]{1,3}-[0-9]+[xyz]$"}, day={"type": "string", "format": "date"}),
    "bounds": closed(n={"type": "integer", "minimum": 17, "multipleOf": 7}, x={"type": "number", "exclusiveMinimum": 0.25}, t=TEXT),
    "endings": {"type": "array", "items": {"type": "string", "pattern": r"^.*\.png$|a{2,3}$"}, "minItems": 1},
    "itself": closed(next={"anyOf": [{"$ref": "#"}, {"type": "null"}]}, say=TEXT),
    "named": {"type": "object", "patternProperties": {"^x_": TEXT}, "additionalProperties": False},
    "marks": closed(say={"enum": ["<|stop|>", "e\u0301", 'q"uote\\', "\u0001\u0007x"]}, then=TEXT),
}


@cache
def grammar(name: str) -> Grammar:
    return grammar_of(SCHEMAS[name])


def grammar_of(schema: Any) -> Grammar:
    return compile(schema, vocabulary())


def spec(**kwargs: Any) -> BlockSpec:
    t = tokenizer()
    return BlockSpec(**({"block_size": 8, "mask_token_id": t.mask, "pad_token_id": t.pad, "stop_ids": (t.stop,)} | kwargs))


def checked(name: str, canvas: Canvas, rows: int) -> Any:
    """The value of a complete answer."""
    t = tokenizer()
    answer = canvas.answer().tolist()
    written = b"".join(vocabulary().pieces[i] or b"" for i in answer)
    assert canvas.finish == "stop", (name, rows, written)
    assert answer[-1] == t.stop
    assert len(answer) <= rows
    value = json.loads(written.decode())
    Draft202012Validator(SCHEMAS[name]).validate(value)
    assert "\ufffd" not in t.decode(answer)
    return value


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_answer_is_valid_and_ends_within_its_rows(name) -> None:
    """Noise for predictions, and from hardly enough rows to plenty."""
    Draft202012Validator.check_schema(SCHEMAS[name])
    made, seen = grammar(name), set()
    forms = [(autoregressive, {}), (threshold, {}), *[(s, o) for s, o, _ in FORMS]]
    for n in range(max(VALID // len(SCHEMAS), 1)):
        r = Random(n)
        rows = len(made.way) + int(r.expovariate(1 / 30))
        strategy, options = r.choice(forms)
        options = options if strategy is autoregressive else {"block_size": r.randint(2, 24), **options}
        canvas = constrained(torch.tensor([5, 6]), made.within(rows), 8)
        pick = r.choice([greedy, sampler(1.0, 0.95, n)])
        for _ in run(strategy(canvas, spec(), pick=pick, **options), Noise(n, vocabulary().size)):
            pass
        seen.add(json.dumps(checked(name, canvas, rows)))
    assert len(seen) > 1


@settings(max_examples=EXACT, deadline=None)
@given(
    name=st.sampled_from(sorted(SCHEMAS)),
    extra=st.integers(0, 90),
    seed=st.integers(0, 10**6),
    block_size=st.integers(2, 32),
    shift=st.sampled_from([0, 1]),
    pick=st.one_of(st.just(greedy), st.builds(sampler, st.floats(0.2, 2.0), st.floats(0.3, 1.0), st.integers(0, 99))),
    scale=st.sampled_from([0.3, 1.0, 3.0]),
)
def test_lossless_strategies_equal_constrained_ar(name, extra, seed, block_size, shift, pick, scale) -> None:
    made, the_spec = grammar(name), spec(draft_shift=shift)
    rows = len(made.way) + extra
    model = TinyTransformer(seed, vocabulary().size, scale=scale)
    constraint = made.within(rows)  # one for all is quick; that it forgets who asked before is another test's business
    expected, slow = None, 0
    for strategy, options, worst in [(autoregressive, {}, 1), *FORMS]:
        canvas, host = constrained(torch.tensor([7, 8, 9]), constraint, block_size), SlowHost(model, the_spec)
        options = options if strategy is autoregressive else {"block_size": block_size, **options}
        for _ in run(strategy(canvas, the_spec, pick=pick, **options), host):
            pass
        if expected is None:
            expected, slow = canvas.answer().tolist(), host.forwards
            assert slow == max(constraint.open_rows(canvas.answer())[0], 0), "forced rows cost no forward"
            checked(name, canvas, rows)
        assert canvas.answer().tolist() == expected
        assert host.forwards <= worst * slow


@settings(max_examples=AGAIN, deadline=None)
@given(name=st.sampled_from(sorted(SCHEMAS)), extra=st.integers(0, 60), seed=st.integers(0, 10**6))
def test_a_place_depends_on_the_tokens_before_it_alone(name, extra, seed) -> None:
    """One constraint that is asked back and forth along two answers, and one that is made anew for every question."""
    r = Random(seed)
    rows = len(grammar(name).way) + extra
    asked = grammar(name).within(rows)
    lines: list[list[int]] = [[], []]
    for _ in range(50):
        line = r.choice(lines)
        tokens = torch.tensor(line + [0] * (rows - len(line)))
        cursor, fresh = asked.cursor(len(line), tokens), grammar(name).within(rows).cursor(len(line), tokens)
        assert cursor.over == fresh.over
        assert torch.equal(cursor.ids(), fresh.ids())
        if cursor.over or r.random() < 0.15:
            del line[r.randint(0, len(line)) :]
            continue
        token = int(cursor.ids()[r.randrange(cursor.ids().numel())])
        assert cursor.allows(token)
        line.append(token)


@settings(max_examples=AGAIN, deadline=None)
@given(
    name=st.sampled_from(sorted(SCHEMAS)),
    seed=st.integers(0, 10**6),
    block_size=st.integers(2, 16),
    form=st.sampled_from([(autoregressive, {}, 1), (threshold, {}, 1), *FORMS]),
    forwards=st.integers(0, 25),
)
def test_late_answers_are_led_to_their_end(name, seed, block_size, form, forwards) -> None:
    strategy, options, worst = form
    if strategy is not autoregressive:
        options = options | {"block_size": block_size}
    made, host = grammar(name), SlowHost(TinyTransformer(seed, vocabulary().size), spec())
    canvas = constrained(torch.tensor([7, 8]), made.within(150), block_size)
    budget = ForwardBudget(forwards, frozenset())
    for _ in run(hurried(lambda: strategy(canvas, spec(), **options), canvas, spec(), budget, frozenset(), greedy), host):
        pass
    assert canvas.finish in ("stop", "deadline")
    in_time, canvas.finish = canvas.finish == "stop", "stop"
    checked(name, canvas, 150)
    if strategy is not threshold:
        assert in_time or host.forwards <= forwards + worst * (len(made.way) + 3 * made.reserve + block_size)


def test_behind_a_token_that_may_not_stand_everything_may() -> None:
    rows = grammar("text").within(20)
    cursor = rows.cursor(0, torch.zeros(20, dtype=torch.long))
    letter = tokenizer().encode("x")[0]
    assert not cursor.allows(letter)
    cursor.step(letter)
    assert cursor.allows(letter)
    assert cursor.ids().numel() == vocabulary().size
    assert not cursor.over


def test_only_the_first_open_row_is_judged() -> None:
    rows = grammar("text in an object").within(30)
    tokens, decided = torch.zeros(30, dtype=torch.long), torch.zeros(30, dtype=torch.bool)
    assert torch.equal(rows.allowed_given(0, tokens, decided), rows.cursor(0, tokens).ids())
    assert rows.allowed_given(1, tokens, decided).numel() == 0
    assert rows.ahead(0, tokens) == []


def test_rows_that_are_few_are_not_taken_from_the_model_at_once() -> None:
    """Close to the limit a number may still have the digits that fit, and a string the characters."""
    longest = {"whole": 0, "text": 0}
    for name in longest:
        made = grammar(name)
        for n in range(25):
            canvas = constrained(torch.tensor([5]), made.within(len(made.way) + 8), 8)
            for _ in run(autoregressive(canvas, spec(), pick=sampler(1.0, 1.0, n)), Noise(n, vocabulary().size)):
                pass
            longest[name] = max(longest[name], len(canvas.answer()))
    assert longest["whole"] == len(grammar("whole").way) + 8
    assert longest["text"] == len(grammar("text").way) + 8


def test_too_few_rows_are_refused() -> None:
    made = grammar("either")
    assert isinstance(made.within(len(made.way)), GrammarRows)
    with pytest.raises(InputError, match=f"may need {len(made.way)} tokens: max_new_tokens is {len(made.way) - 1}; raise it"):
        made.within(len(made.way) - 1)


def test_characters_of_several_tokens_are_whole() -> None:
    """An alphabet in which most characters take several tokens, and hardly any rows: none is cut."""
    made = grammar("text")
    high = torch.tensor([bool(p) and p[0] >= 0x80 for p in vocabulary().pieces])
    found = set()
    for n in range(48):
        noise = Noise(n, vocabulary().size)
        canvas = constrained(torch.tensor([5]), made.within(len(made.way) + n % 12), 8)
        strategy = autoregressive(canvas, spec(), pick=lambda logits, rows: greedy(logits + 9.0 * high, rows))
        for _ in run(strategy, noise):
            pass
        found |= set(checked("text", canvas, len(made.way) + n % 12))
    assert sum(ord(c) > 0x7F for c in found) > 30


# --- what is refused ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "keyword", "pointer", "message"),
    [
        ({"type": "string", "maxLenght": 3}, "maxLenght", "/maxLenght", "'maxLenght' is not supported"),
        (closed(a=closed(b={"type": "string", "minLenght": 3})), "minLenght", "/properties/a/properties/b/minLenght", "supported"),
        ({"type": "array", "items": {"type": "strin"}}, "type", "/items/type", "type must be one of"),
        ({"type": ["string", "nul"]}, "type", "/type", "type must be one of"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems", "/uniqueItems", "not supported"),
        ({"type": "string", "minimum": 3}, "minimum", "/minimum", "not supported"),
        ({"anyOf": [TEXT, {"type": "string", "format": "colour"}]}, "format", "/anyOf/1/format", "Unknown format"),
        (closed(x={"type": "string", "pattern": "(?=a)b"}), "pattern", "/properties/x/pattern", "look-around"),
        ({"oneOf": [WHOLE, {"type": "number"}]}, "oneOf", "/oneOf", "oneOf"),
        ({"anyOf": []}, "anyOf", "/anyOf", "anyOf is empty"),
        (closed(**{"a/b": {"$ref": "#/$defs/absent"}}), "$ref", "/properties/a~1b/$ref", "does not exist"),
        ({"type": "array", "items": {"$ref": "other.json"}}, "$ref", "/items/$ref", "other.json"),
        ({"type": "string", "minLength": 5, "maxLength": 3}, "minLength", "/minLength", "greater than maxLength"),
        ({"type": "number", "multipleOf": 0.1}, "multipleOf", "/multipleOf", "whole numbers"),
        ({"type": "array", "items": [TEXT]}, "", "/items", "a schema is an object"),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "", "/items", "no value was found that ends"),
        (
            closed([], a=TEXT, b=closed(c={"$ref": "#/properties/b"})),
            "",
            "/properties/b/properties/c",
            "no value was found that ends",
        ),
        (True, "", "", "a schema is an object"),
        (
            {"type": "object", "patternProperties": {"^a": {"allOf": [WHOLE, TEXT]}}},
            "patternProperties",
            "/patternProperties/^a",
            "no value fits",
        ),
        ({"allOf": [{"type": "string", "format": "uri"}, {"type": "string", "pattern": "^!"}]}, "allOf", "/allOf", r"\.\.\.$"),
    ],
)
def test_refusals(schema, keyword, pointer, message) -> None:
    with pytest.raises(SchemaError, match=message) as e:
        compile(schema, vocabulary())
    assert (e.value.keyword, e.value.pointer) == (keyword, pointer)
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 300


@pytest.mark.parametrize("name", sorted(SCHEMAS.keys() - {"whole"}))
def test_a_template_says_that_a_grammar_may_honour_these(name) -> None:
    with pytest.raises(SchemaError) as e:
        template(SCHEMAS[name])
    assert e.value.unbounded


def test_what_is_only_unbounded_is_told_from_what_is_wrong() -> None:
    wrong, honoured = set(), set()
    for keyword, schema in BREAKS:
        with pytest.raises(SchemaError) as e:
            template(schema)
        if not e.value.unbounded:
            wrong.add(keyword)
            continue
        with suppress(SchemaError):  # such as a pattern that looks ahead
            compile(schema, vocabulary())
            honoured.add(keyword)
    assert {"maxLength", "minItems", "maxItems", "additionalProperties", "pattern", "type", "oneOf", "minLength"} <= honoured
    assert {"uniqueItems", "contains", "not", "if", "$dynamicRef", "minProperties", "enum", "const", "required"} <= wrong
    assert not wrong & {"additionalProperties", "oneOf", "allOf", "minLength", "format", "multipleOf"}


def test_ids_that_are_never_text_are_left_out_whatever_the_tokenizer_says() -> None:
    t, letter = tokenizer(), tokenizer().encode("x")[0]
    made = compile(TEXT, Vocabulary(t, vocab_size=len(t) + 9, stop_id=t.stop, never=[letter, len(t) + 3]))
    cursor = made.within(20).cursor(1, torch.tensor(t.encode('"') + [0] * 19))
    assert set(grammar("text").within(20).cursor(1, torch.tensor(t.encode('"') + [0] * 19)).ids().tolist()) >= {letter}
    assert not {letter, *range(len(t), len(t) + 9)} & set(cursor.ids().tolist())


def test_there_has_to_be_a_stop_token() -> None:
    with pytest.raises(UnsupportedError, match="needs a stop token"):
        Vocabulary(tokenizer(), vocab_size=10, stop_id=None)


# --- tokenizers -------------------------------------------------------------------------------------------------------------------


def test_a_tokenizer_that_cannot_tell_its_bytes_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="needs a byte-level tokenizer"):
        Vocabulary(words(), vocab_size=len(words()), stop_id=words().stop)


class Report(BaseModel):
    objects: list[str]
    note: str | None = None


def test_pydantic_models_are_closed() -> None:
    made = compile(Report, vocabulary())
    for n in range(20):
        canvas = constrained(torch.tensor([5]), made.within(40), 8)
        for _ in run(autoregressive(canvas, spec()), Noise(n, vocabulary().size)):
            pass
        text = tokenizer().decode(canvas.answer().tolist())
        assert set(Report.model_validate_json(text).model_dump()) >= set(json.loads(text))


def test_ids_of_the_constraint_are_within_those_of_the_grammar() -> None:
    """However short the rows: the constraint takes away, it never adds."""
    for name in SCHEMAS:
        made = grammar(name)
        rows = made.within(len(made.way) + 3)
        place, matcher = rows.cursor(0, torch.zeros(1, dtype=torch.long)), made.matcher.deep_copy()
        r = Random(1)
        while not place.over:
            ids = place.ids().tolist()
            assert ids
            assert all(matcher.validate_tokens([i]) == 1 for i in ids if i != tokenizer().stop)
            assert (tokenizer().stop in ids) <= matcher.is_accepting()
            token = r.choice(ids)
            matcher.consume_token(token)
            place.step(token)


def test_constraints_are_copied_with_their_canvas() -> None:
    """A fresh strategy on a copy of the canvas goes on as the old one would have."""
    made, the_spec = grammar("objects"), spec()
    model = TinyTransformer(3, vocabulary().size)
    whole = constrained(torch.tensor([7]), made.within(60), 8)
    for _ in run(autoregressive(whole, the_spec), SlowHost(model, the_spec)):
        pass
    canvas, host = constrained(torch.tensor([7]), made.within(60), 8), SlowHost(model, the_spec)
    for n, _ in enumerate(run(autoregressive(canvas, the_spec), host)):
        if n == 6:
            break
    copy = dataclasses.replace(canvas, tokens=canvas.tokens.clone(), decided=canvas.decided.clone(), frozen=canvas.frozen.clone())
    copy.constraint = made.within(60)
    for _ in run(autoregressive(copy, the_spec), host):
        pass
    assert copy.answer().tolist() == whole.answer().tolist()
