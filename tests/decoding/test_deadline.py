"""Hurried decoding: valid always, required sections as causal decoding gives them, within its budget of forwards."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding import flow
from decoding.autoregressive import autoregressive
from decoding.canvas import constrained, scaffolded
from decoding.deadline import ForwardBudget, hurried, open_rows
from decoding.fused import fused
from decoding.loop import run
from decoding.rules import greedy, sampler
from decoding.scaffold import build
from decoding.self_speculative import self_speculative
from decoding.template import Choice, FreeText, Number, Template, TemplateSection, Text
from decoding.threshold import threshold
from edge.core.types import Canvas
from tests.decoding.slow_host import SlowHost, TinyTransformer
from tests.decoding.test_exactness import CASES, FORMS, PAD, STOP, VOCAB, Letters, compiled, parts, prompts, spec

picks = st.one_of(st.just(greedy), st.builds(sampler, st.floats(0.2, 2.0), st.floats(0.3, 1.0), st.integers(0, 99)))
names = "abc"


@st.composite
def templates_and_required(draw):
    """Sections named a, b, c, and which of them have to be there."""
    n = draw(st.integers(1, 3))
    sections = tuple(TemplateSection(name=names[i], parts=tuple(draw(st.lists(parts, min_size=1, max_size=3)))) for i in range(n))
    return Template(sections=sections), frozenset(draw(st.sets(st.sampled_from(names[:n]))))


def decode(
    strategy, options, canvas: Canvas, host: SlowHost, budget: ForwardBudget, optional: frozenset[str], pick=greedy
) -> list[int]:
    def start():
        return strategy(canvas, host.spec, pick=pick, **options)

    for _ in run(hurried(start, canvas, host.spec, budget, optional, pick), host):
        pass
    assert canvas.finish is not None
    return canvas.answer().tolist()


def names_of(template: Template) -> frozenset[str]:
    return frozenset(s.name for s in template.sections)


@settings(max_examples=CASES // 3, deadline=None)
@given(
    prompt=prompts, seed=st.integers(0, 10**6), block_size=st.integers(2, 12), what=templates_and_required(),
    forwards=st.integers(0, 40), pick=picks, form=st.sampled_from([*FORMS, (threshold, {}, 2), (autoregressive, {}, 1)]),
)  # fmt: skip
def test_valid_in_time_and_causal_where_required(prompt, seed, block_size, what, forwards, pick, form) -> None:
    template, required = what
    strategy, options, _ = form
    scaffold, model = compiled(template), TinyTransformer(seed, VOCAB)
    canvas = scaffolded(torch.tensor(prompt), scaffold, block_size)
    needed = sum(n for name, n in open_rows(canvas).items() if name in required)
    if strategy is not autoregressive:
        options = options | {"block_size": block_size}
    host = SlowHost(model, spec())
    optional = names_of(template) - required
    tokens = decode(strategy, options, canvas, host, ForwardBudget(forwards, required), optional, pick)

    assert torch.equal(scaffold.fill(scaffold.values(canvas.answer())), canvas.answer())  # valid, whatever was closed
    assert set(canvas.skipped) <= optional
    if strategy is threshold:
        return
    assert host.forwards <= max(forwards, 2 * needed + 3)
    # what is required is what causal decoding says behind what was closed
    again = scaffolded(torch.tensor(prompt), scaffold, block_size)
    for s in scaffold.sections:
        if s.name in canvas.skipped:
            at = slice(again.prompt_len + s.start, again.prompt_len + s.end)
            again.tokens[at], again.decided[at] = canvas.tokens[at], True
    for _ in run(autoregressive(again, spec(), pick=pick), SlowHost(model, spec())):
        pass
    assert again.answer().tolist() == tokens


@settings(max_examples=CASES // 3, deadline=None)
@given(prompt=prompts, seed=st.integers(0, 10**6), block_size=st.integers(2, 12), what=templates_and_required(), pick=picks)
def test_sections_left_out_from_the_start_are_the_same_for_all_lossless_forms(prompt, seed, block_size, what, pick) -> None:
    template, required = what
    model, scaffold = TinyTransformer(seed, VOCAB), compiled(template)
    optional = names_of(template) - required
    found = []
    for strategy, options, _ in [(autoregressive, {}, 1), *FORMS]:
        options = options if strategy is autoregressive else options | {"block_size": block_size}
        canvas, host = scaffolded(torch.tensor(prompt), scaffold, block_size), SlowHost(model, spec())
        found.append(decode(strategy, options, canvas, host, ForwardBudget(0, required), optional, pick))
    assert all(f == found[0] for f in found)


@settings(max_examples=CASES // 5, deadline=None)
@given(prompt=prompts, seed=st.integers(0, 10**6), what=templates_and_required(), form=st.sampled_from(FORMS))
def test_nothing_is_left_out_while_there_is_time(prompt, seed, what, form) -> None:
    template, required = what
    strategy, options, _ = form
    model, scaffold = TinyTransformer(seed, VOCAB), compiled(template)
    canvas = scaffolded(torch.tensor(prompt), scaffold, 8)
    plain = dataclasses.replace(canvas, tokens=canvas.tokens.clone(), decided=canvas.decided.clone())
    hosts = SlowHost(model, spec()), SlowHost(model, spec())
    tokens = decode(strategy, options, canvas, hosts[0], ForwardBudget(10**6, required), names_of(template) - required)
    for _ in run(strategy(plain, spec(), **options), hosts[1]):
        pass
    assert tokens == plain.answer().tolist()
    assert canvas.skipped == ()
    assert hosts[0].forwards == hosts[1].forwards


WORDS = Template(
    sections=(
        TemplateSection(name="a", parts=(Text(text="a"), FreeText(budget=20), Text(text='"'))),
        TemplateSection(
            name="b", parts=(Text(text="b"), Choice(options=("c", "dd")), Number(integer_digits=2, decimals=0), Text(text="e"))
        ),
    )
)


class Quoting(Letters):
    """Letter h is a quotation mark, so that free text may end there."""

    def decode(self, ids: list[int]) -> str:
        return super().decode(ids).replace("h", '"')

    def encode(self, text: str) -> list[int]:
        return super().encode(text.replace('"', "h"))


@pytest.mark.parametrize("forwards", [0, 3, 8, 10**6])
@pytest.mark.parametrize("strategy", [autoregressive, self_speculative, fused])
def test_a_flow_ends_its_text(strategy, forwards) -> None:
    constraint = flow.build(WORDS, Quoting(), vocab_size=VOCAB, stop_id=STOP)
    canvas = constrained(torch.tensor([1, 2, 3]), constraint, 8)
    host = SlowHost(TinyTransformer(7, VOCAB), spec(pad_token_id=None))
    tokens = decode(strategy, {}, canvas, host, ForwardBudget(forwards, frozenset("b")), frozenset("a"))
    text = Quoting().decode(tokens[:-1])
    assert text[0] == "a"
    assert tokens[-1] == STOP
    assert text[text.index('"') :][:2] == '"b'
    if forwards == 0:
        assert text.startswith('a"b')
        assert canvas.skipped == ("a",)
    if forwards == 10**6:
        assert canvas.skipped == ()


def test_padding_closes_what_may_hold_it_and_the_model_guesses_the_rest() -> None:
    scaffold = build(WORDS, Quoting(), vocab_size=VOCAB, pad_token_id=PAD, stop_id=STOP)
    canvas = scaffolded(torch.tensor([1, 2, 3]), scaffold, 8)
    host = SlowHost(TinyTransformer(7, VOCAB), spec())
    decode(self_speculative, {}, canvas, host, ForwardBudget(0, frozenset()), frozenset("ab"))
    text, choice, number = scaffold.values(canvas.answer())
    assert canvas.skipped == ("a", "b")
    assert len(text) <= 1  # the prompt's own pass may have said a letter already
    assert choice in ("c", "dd")
    assert len(number) == 3
    assert host.forwards == 2
    assert PAD in canvas.answer().tolist()


def test_free_text_ends_where_it_is() -> None:
    canvas = Canvas.open(torch.tensor([1, 2, 3]), 40)
    host = SlowHost(TinyTransformer(7, VOCAB), spec(stop_ids=()))
    tokens = decode(autoregressive, {}, canvas, host, ForwardBudget(10, frozenset()), frozenset())
    assert canvas.finish == "deadline"
    assert 0 < len(tokens) <= 10
    assert host.forwards <= 10
