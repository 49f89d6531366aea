"""Self-speculation equals causal decoding token for token, whatever the weights, the block size and the scaffold."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.autoregressive import autoregressive
from decoding.canvas import scaffolded
from decoding.fused import fused
from decoding.loop import run
from decoding.rules import greedy, sampler
from decoding.scaffold import Scaffold, build
from decoding.self_speculative import self_speculative
from decoding.template import Choice, FreeText, Number, Template, TemplateSection, Text
from edge.core.blockspec import BlockSpec
from edge.core.types import Canvas
from tests.decoding.slow_host import SlowHost, TinyTransformer

CASES = 1000 if os.environ.get("EDGE_CASES") != "small" else 150
VOCAB, MASK, PAD, STOP = 24, 21, 22, 23


class Letters:
    """Tokens 0-9 digits, 10 plus, 11 minus, 12 point, 13-20 letters a-h."""

    alphabet = "0123456789+-.abcdefgh"

    def encode(self, text: str) -> list[int]:
        return [self.alphabet.index(c) for c in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.alphabet[i] for i in ids if i < len(self.alphabet))


def spec(**kwargs) -> BlockSpec:
    return BlockSpec(**({"block_size": 8, "mask_token_id": MASK, "pad_token_id": PAD, "stop_ids": (STOP,)} | kwargs))


letters = st.text("abcdefgh", min_size=1, max_size=4)
parts = st.one_of(
    st.builds(Text, text=letters),
    st.builds(Choice, options=st.lists(letters, min_size=1, max_size=4, unique=True).map(tuple)),
    st.builds(FreeText, budget=st.integers(1, 6)),
    st.builds(Number, integer_digits=st.integers(1, 3), decimals=st.integers(0, 2)),
)
templates = st.lists(
    st.builds(TemplateSection, name=letters, parts=st.lists(parts, min_size=1, max_size=4).map(tuple)), min_size=1, max_size=3
).map(lambda s: Template(sections=tuple(s)))
prompts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=40)


def compiled(template: Template) -> Scaffold:
    return build(template, Letters(), vocab_size=VOCAB, pad_token_id=PAD, stop_id=STOP)


def decode(strategy, canvas: Canvas, host: SlowHost, **kwargs) -> list[int]:
    for _ in run(strategy(canvas, host.spec, **kwargs), host):
        pass
    assert canvas.finish is not None
    return canvas.answer().tolist()


FORMS = [
    (self_speculative, {}, 2),
    (fused, {"lagged": False}, 1),
    (fused, {}, 1),
    (fused, {"branches": 3}, 1),
    (fused, {"lagged": False, "branches": 2}, 1),
    (fused, {"across": True}, 1),
    (fused, {"across": True, "lagged": False, "branches": 1}, 1),
]
"""Lossless strategies, and how many forwards for one of `ar` they may take at worst."""


def pair(canvas: Canvas, seed: int, the_spec: BlockSpec, block_size: int, pick, scale: float) -> None:
    """Every lossless strategy gives what `ar` gives."""
    model = TinyTransformer(seed, VOCAB, scale=scale)
    copies = [copied(canvas) for _ in FORMS]
    ar = SlowHost(model, the_spec)
    expected = decode(autoregressive, canvas, ar, pick=pick)
    for other, (strategy, options, worst) in zip(copies, FORMS, strict=True):
        fast = SlowHost(model, the_spec)
        assert decode(strategy, other, fast, block_size=block_size, pick=pick, **options) == expected
        assert other.finish == canvas.finish
        assert fast.forwards <= worst * ar.forwards


def copied(canvas: Canvas) -> Canvas:
    return dataclasses.replace(canvas, tokens=canvas.tokens.clone(), decided=canvas.decided.clone(), frozen=canvas.frozen.clone())


picks = st.one_of(st.just(greedy), st.builds(sampler, st.floats(0.2, 2.0), st.floats(0.3, 1.0), st.integers(0, 99)))


@settings(max_examples=CASES, deadline=None)
@given(
    prompt=prompts,
    seed=st.integers(0, 10**6),
    block_size=st.integers(2, 32),
    n=st.integers(1, 50),
    shift=st.sampled_from([0, 1]),
    pick=picks,
    scale=st.sampled_from([0.3, 1.0, 3.0]),
)
def test_free_text_equals_ar(prompt, seed, block_size, n, shift, pick, scale) -> None:
    canvas = Canvas.open(torch.tensor(prompt), n)
    pair(canvas, seed, spec(draft_shift=shift), block_size, pick, scale)


@settings(max_examples=CASES, deadline=None)
@given(
    prompt=prompts,
    seed=st.integers(0, 10**6),
    block_size=st.integers(2, 32),
    template=templates,
    shift=st.sampled_from([0, 1]),
    pick=picks,
    scale=st.sampled_from([0.3, 1.0, 3.0]),
)
def test_scaffold_equals_constrained_ar(prompt, seed, block_size, template, shift, pick, scale) -> None:
    scaffold = compiled(template)
    canvas = scaffolded(torch.tensor(prompt), scaffold, block_size)
    pair(canvas, seed, spec(draft_shift=shift), block_size, pick, scale)
    values = scaffold.values(canvas.answer())
    assert torch.equal(scaffold.fill(values), canvas.answer())


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f[0].__name__} {f[1]}")
@settings(max_examples=CASES // 5, deadline=None)
@given(prompt=prompts, seed=st.integers(0, 10**6), block_size=st.integers(2, 12), template=templates, stop_at=st.integers(1, 30))
def test_a_fresh_strategy_continues_from_a_round_boundary(form, prompt, seed, block_size, template, stop_at) -> None:
    strategy, options, _ = form
    model, the_spec = TinyTransformer(seed, VOCAB), spec()
    scaffold = compiled(template)
    whole = scaffolded(torch.tensor(prompt), scaffold, block_size)
    expected = decode(strategy, whole, SlowHost(model, the_spec), block_size=block_size, **options)
    canvas, host = scaffolded(torch.tensor(prompt), scaffold, block_size), SlowHost(model, the_spec)
    while canvas.finish is None:
        for n, _ in enumerate(run(strategy(canvas, the_spec, block_size=block_size, **options), host), start=1):
            if n >= stop_at:  # possibly in the middle of a round: the canvas then stands at the last boundary
                break
        stop_at += 1
    assert canvas.answer().tolist() == expected


@pytest.mark.parametrize("strategy", [autoregressive, self_speculative])
def test_ar_counts_one_forward_per_open_token(strategy) -> None:
    template = Template(sections=(TemplateSection(name="s", parts=(Text(text="ab"), Number(integer_digits=2, decimals=1))),))
    canvas = scaffolded(torch.tensor([1, 2, 3]), compiled(template), 4)
    host = SlowHost(TinyTransformer(1, VOCAB), spec())
    answer = decode(strategy, canvas, host)
    assert answer[:2] == Letters().encode("ab")
    assert answer[-1] == STOP
    if strategy is autoregressive:
        assert host.forwards == 4  # sign and three digits; "ab", the point and the stop token cost none
