"""Decoding under a grammar against twins that know nothing of it: a mask from a regular expression, and arithmetic."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import pytest
import regex
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from decoding.autoregressive import autoregressive
from decoding.canvas import constrained
from decoding.keywords import SchemaError
from decoding.loop import run
from decoding.rules import Pick, greedy, sampler
from edge.core.types import After, Call
from tests.decoding.slow_host import SlowHost, TinyTransformer
from tests.decoding.test_grammar import TEXT, TWINS, WHOLE, closed, grammar_of, spec, tokenizer, vocabulary

UTF8 = rb"[\x20\x21\x23-\x5b\x5d-\x7e]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
UTF8 += rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
STRING = rb'"(?:' + UTF8 + rb'|\\["\\bfnrt]|\\u00(?:[01][0-9a-fA-F]|7[fF]))*"'
INTEGER = rb"-?(?:0|[1-9][0-9]*)"
BY_HAND: dict[str, tuple[dict[str, Any], bytes]] = {
    "text": (TEXT, STRING),
    "list": ({"type": "array", "items": WHOLE}, rb"\[(?:" + INTEGER + rb"(?:, " + INTEGER + rb")*)?\]"),
    "object": (
        closed(say=TEXT, go={"enum": ["left", "left turn", 1, 12, None]}),
        rb'\{"say": ' + STRING + rb', "go": (?:"left"|"left turn"|1|12|null)\}',
    ),
    "optional": (
        closed(["b"], a={"type": "boolean"}, b=WHOLE, c=TEXT),
        rb'\{(?:"a": (?:true|false), )?"b": ' + INTEGER + rb'(?:, "c": ' + STRING + rb")?\}",
    ),
    "pattern": ({"type": "string", "pattern": "^[a-f]{2,}[0-9]+$"}, rb'"[a-f]{2,}[0-9]+"'),
    "either": ({"anyOf": [closed(x=WHOLE), {"type": "null"}]}, rb'\{"x": ' + INTEGER + rb"\}|null"),
}
"""Schemas, and by hand what bytes their answers are. They know the forms that the grammar writes: one line, short escapes."""


@cache
def allowed(name: str, said: bytes) -> Tensor:
    """Every id that may follow: its bytes with those before it begin an answer, or it stops behind a whole one. int64 [n]"""
    form, t = regex.compile(BY_HAND[name][1]), tokenizer()
    begins = [p is not None and form.fullmatch(said + p, partial=True) is not None for p in vocabulary().pieces]
    begins[t.stop] = form.fullmatch(said) is not None
    return torch.tensor(begins).nonzero().flatten()


def forced(ids: Tensor) -> bool:
    """Whether all ids begin one text. How it is spelt is then the tokenizer's affair, and no choice of the model."""
    pieces = sorted((vocabulary().pieces[i] or b"" for i in ids.tolist()), key=len)
    return tokenizer().stop not in ids.tolist() and all(pieces[-1].startswith(p) for p in pieces)


def naive(name: str, model: TinyTransformer, prompt: list[int], spelt: list[int], pick: Pick) -> list[int]:
    """A forward of the whole text for every token, and a mask over the whole vocabulary. spelt: how forced text is to be spelt."""
    line = list(prompt)
    for token in spelt:
        n, said = len(line), b"".join(vocabulary().pieces[i] or b"" for i in line[len(prompt) :])
        ids = allowed(name, said)
        if forced(ids):
            assert token in ids.tolist()
            line.append(token)
            continue
        at, zeros = torch.arange(n), torch.zeros(n, dtype=torch.long)
        logits = SlowHost(model, spec()).forward(Call(torch.tensor(line), zeros.bool(), at, zeros, at, (After(n - 1),))).logits
        masked = torch.full_like(logits, float("-inf"))
        masked[0, ids] = logits[0, ids]
        line.append(int(pick(masked, torch.tensor([n]))[0]))
        if line[-1] == tokenizer().stop:
            break
    return line[len(prompt) :]


picks = st.one_of(st.just(greedy), st.builds(sampler, st.floats(0.2, 2.0), st.floats(0.3, 1.0), st.integers(0, 99)))


@pytest.mark.parametrize("name", BY_HAND)
@settings(max_examples=max(TWINS // len(BY_HAND), 1), deadline=None)
@given(seed=st.integers(0, 10**6), pick=picks, scale=st.sampled_from([0.3, 1.0, 3.0]))
def test_ar_is_the_naive_decoder(name: str, seed: int, pick: Pick, scale: float) -> None:
    """As long as rows are plenty: the first 30 of 200."""
    model, prompt = TinyTransformer(seed, vocabulary().size, scale=scale), [7, 8, 9]
    canvas = constrained(torch.tensor(prompt), grammar_of(BY_HAND[name][0]).within(200), 8)
    for _ in run(autoregressive(canvas, spec(), pick=pick), SlowHost(model, spec())):
        if canvas.frontier - len(prompt) >= 30:
            break
    answer = canvas.answer().tolist()
    assert naive(name, model, prompt, answer, pick) == answer
    assert len(answer) >= 30 or canvas.finish == "stop"


@pytest.mark.parametrize("name", BY_HAND)
def test_the_mask_is_that_of_the_regular_expression(name: str) -> None:
    """Down random answers, at every place of which every id of the vocabulary is asked."""
    for n in range(max(TWINS // 6, 2)):
        r, said = Random(n), b""
        rows = grammar_of(BY_HAND[name][0]).within(400)
        cursor = rows.cursor(0, torch.zeros(400, dtype=torch.long))
        for _ in range(25):
            if cursor.over:
                break
            ids = cursor.ids()
            expected = allowed(name, said)
            assert torch.equal(ids, expected) or (forced(expected) and ids.numel() == 1 and int(ids) in expected.tolist())
            token = int(ids[r.randrange(ids.numel())])
            said += vocabulary().pieces[token] or b""
            cursor.step(token)


@pytest.mark.parametrize("said", ["", "\\", "\\u", "\\u0", "\\u00", "\\u000", "\\u001", "\\u007", "\\u001B", "\\n", "\\\\"])
def test_the_mask_within_escapes(said: str) -> None:
    """Places that random answers seldom come to: an escape is cut nowhere, and both cases of a hexadecimal digit are fine."""
    letters = {piece: i for i, piece in reversed(list(enumerate(vocabulary().pieces))) if piece is not None and len(piece) == 1}
    text = b'"a' + said.encode()
    cursor = grammar_of(TEXT).within(200).cursor(0, torch.zeros(200, dtype=torch.long))
    for byte in text:
        cursor.step(letters[bytes([byte])])
    assert torch.equal(cursor.ids(), allowed("text", text))


# --- bounds of numbers ----------------------------------------------------------------------------------------------------------

WRITTEN = [
    t
    for n in range(1, 5)
    for c in itertools.product("-0129.5e", repeat=n)
    if re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", t := "".join(c))
] + ["1.00000000000000000001", "0." + "0" * 400 + "1", "-1.25", "0.001"]
EDGES = [None, 0, 0.5, -0.5, 1, -1, 1.25, 0.001, 19, -99.999]
TESTS: dict[str, Callable[[float, float], bool]] = {
    "minimum": float.__ge__,
    "exclusiveMinimum": float.__gt__,
    "maximum": float.__le__,
    "exclusiveMaximum": float.__lt__,
}


@pytest.mark.parametrize("kind", ["number", "integer"])
def test_no_number_beyond_its_bounds_can_be_written(kind: str) -> None:
    single = {p[0]: i for i, p in enumerate(vocabulary().pieces) if p is not None and len(p) == 1}
    r = Random(kind)
    for _ in range(4 * TWINS):
        bounds = [
            (r.choice(["minimum", "exclusiveMinimum"]), r.choice(EDGES)),
            (r.choice(["maximum", "exclusiveMaximum"]), r.choice(EDGES)),
        ]
        given = {k: v for k, v in bounds if v is not None}
        numbers = [v for _, v in bounds if v is not None]
        if len(numbers) == 2 and numbers[0] >= numbers[1]:
            continue
        try:
            made = grammar_of({"type": kind, **given})
        except SchemaError:  # no whole number lies between
            continue
        for text in [*r.sample(WRITTEN, 60), *(repr(v) for v in numbers), "0", "-0", "1", "-1", "0.0", *WRITTEN[-4:]]:
            ids = [single[b] for b in text.encode()]
            matcher = made.matcher.deep_copy()
            if matcher.validate_tokens(ids) == len(ids) and matcher.consume_tokens(ids) and matcher.is_accepting():
                assert all(TESTS[k](float(text), float(v)) for k, v in given.items()), (text, given)
                assert kind == "number" or float(text).is_integer()
