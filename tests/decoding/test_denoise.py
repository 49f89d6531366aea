"""Every lossy strategy against a slow decoder written from the published loops, with the rule written from its definition."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from decoding.canvas import constrained, scaffolded
from decoding.entropy_bound import entropy_bound
from decoding.factor import factor
from decoding.flow import build as flowing
from decoding.loop import run
from decoding.section_diffusion import section_diffusion
from decoding.static import static
from decoding.template import Choice, Template, TemplateSection, Text
from decoding.threshold import threshold
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError, UnsupportedError
from edge.core.types import Canvas
from tests.decoding.slow_denoise import (
    MASK,
    SPECS,
    by_count,
    by_entropy,
    by_factor,
    by_threshold,
    slow_free,
    slow_scaffold,
)
from tests.decoding.slow_host import SlowHost, TinyTransformer
from tests.decoding.test_exactness import PAD, STOP, VOCAB, Letters, compiled, prompts, templates


@dataclass(frozen=True)
class Form:
    """A strategy with an option set, and how the slow decoder names the same."""

    strategy: Any
    option: str
    value: float
    sections: bool = False

    @property
    def options(self) -> dict[str, Any]:
        return {self.option: self.value}

    def rule(self, size: int):
        if self.option == "steps":
            return by_count(math.ceil(size / self.value))
        return {"threshold": by_threshold, "factor": by_factor, "entropy": by_entropy}[self.option](self.value)


FREE = [
    *[Form(threshold, "threshold", v) for v in (0.0, 0.3, 0.6, 0.9, 1.0)],
    *[Form(factor, "factor", v) for v in (0.2, 1.0, 1.7, 4.0)],
    *[Form(entropy_bound, "entropy", v) for v in (0.0, 0.3, 1.0, 3.0, 100.0)],
    *[Form(static, "steps", v) for v in (1, 2, 3, 4, 50)],
]
FORMS = [*FREE, *[Form(section_diffusion, "threshold", v, sections=True) for v in (0.0, 0.3, 0.6, 0.9, 1.0)]]
SCAFFOLD_SPECS = [s.model_copy(update={"pad_token_id": PAD, "stop_ids": (STOP,)}) for s in SPECS]
NO_COMMIT = SCAFFOLD_SPECS[2].model_copy(update={"commit": "none"})
ids = st.lists(st.integers(0, 20), min_size=1, max_size=13)
sub_blocks = st.one_of(st.none(), st.integers(1, 5))


def decode(strategy, canvas: Canvas, host: SlowHost, **options) -> list[int]:
    for calls, _ in enumerate(run(strategy(canvas, host.spec, **options), host)):
        assert calls < 3 * len(canvas) + 10, "does not end"
    assert canvas.finish is not None
    return canvas.answer().tolist()


@settings(max_examples=120, deadline=None)
@given(
    prompt=ids,
    n=st.integers(1, 14),
    seed=st.integers(0, 10**6),
    form=st.sampled_from(FREE),
    spec=st.sampled_from(SPECS),
    size=st.sampled_from([None, 1, 3, 6]),
)
def test_free_text_equals_the_slow_decoder(prompt, n, seed, form, spec, size) -> None:
    model = TinyTransformer(seed, 22)
    fast = decode(form.strategy, Canvas.open(torch.tensor(prompt), n), SlowHost(model, spec), block_size=size, **form.options)
    assert fast == slow_free(model, spec, prompt, n, form.rule(size or spec.block_size), size=size)


@settings(max_examples=60, deadline=None)
@given(
    prompt=ids,
    n=st.integers(1, 14),
    seed=st.integers(0, 10**6),
    tau=st.sampled_from([0.0, 0.3, 0.9]),
    spec=st.sampled_from(SPECS),
    sub=st.integers(1, 8),
)
def test_sub_blocks_equal_the_slow_decoder(prompt, n, seed, tau, spec, sub) -> None:
    model = TinyTransformer(seed, 22)
    canvas, host = Canvas.open(torch.tensor(prompt), n), SlowHost(model, spec)
    fast = decode(threshold, canvas, host, threshold=tau, block_size=6, sub_block=sub)
    assert fast == slow_free(model, spec, prompt, n, by_threshold(tau), size=6, sub_block=sub)


independent = st.lists(
    st.builds(
        TemplateSection,
        name=st.sampled_from("abc"),
        parts=st.lists(
            st.one_of(
                st.builds(Text, text=st.text("abcdefgh", min_size=1, max_size=3)),
                st.builds(Choice, options=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=8, unique=True).map(tuple)),
            ),
            min_size=1,
            max_size=8,
        ).map(tuple),
    ),
    min_size=1,
    max_size=3,
).map(lambda s: Template(sections=tuple(s)))
"""Templates whose open rows, of two ids or more, do not depend on each other."""


@settings(max_examples=120, deadline=None)
@given(
    prompt=ids,
    seed=st.integers(0, 10**6),
    template=independent.filter(lambda t: bool(list(t.holes()))),
    form=st.sampled_from(FORMS),
    spec=st.sampled_from(SCAFFOLD_SPECS),
    size=st.integers(1, 6),
    sub=sub_blocks,
)
def test_a_scaffold_equals_the_slow_decoder(prompt, seed, template, form, spec, size, sub) -> None:
    model, scaffold = TinyTransformer(seed, VOCAB), compiled(template)
    canvas, host = scaffolded(torch.tensor(prompt), scaffold, size), SlowHost(model, spec)
    sub = sub if form.strategy is threshold else None
    options = form.options | ({} if sub is None else {"sub_block": sub})
    expected = slow_scaffold(model, spec, prompt, scaffold, form.rule(size), size, sub_block=sub, sections=form.sections)
    assert decode(form.strategy, canvas, host, block_size=size, **options) == expected


OPEN = compiled(Template(sections=(TemplateSection(name="s", parts=(Choice(options=tuple("abcdefgh")),) * 12),)))


def test_a_block_that_begins_open_waits_in_section_diffusion() -> None:
    """Label shift 1, blocks of open rows alone: still the slow decoder, which often differs from `threshold` there."""
    differing = 0
    for seed in range(40):
        model, spec = TinyTransformer(seed, VOCAB), SCAFFOLD_SPECS[seed % 2]  # the second commits as section diffusion does
        prompt = [seed % 20, 3, 4, 1][: 1 + seed % 4]
        found = [
            decode(s, scaffolded(torch.tensor(prompt), OPEN, 4), SlowHost(model, spec), threshold=0.6)
            for s in (section_diffusion, threshold)
        ]
        assert found[0] == slow_scaffold(model, spec, prompt, OPEN, by_threshold(0.6), 4, sections=True)
        differing += seed % 2 and found[0] != found[1]
    assert differing >= 5


@settings(max_examples=120, deadline=None)
@given(
    prompt=prompts,
    seed=st.integers(0, 10**6),
    template=templates,
    form=st.sampled_from(FORMS),
    spec=st.sampled_from([*SCAFFOLD_SPECS, NO_COMMIT]),
    size=st.integers(1, 6),
)
def test_a_scaffold_is_honoured_whatever_is_committed_first(prompt, seed, template, form, spec, size) -> None:
    scaffold = compiled(template)
    canvas = scaffolded(torch.tensor(prompt), scaffold, size)
    tokens = decode(form.strategy, canvas, SlowHost(TinyTransformer(seed, VOCAB), spec), block_size=size, **form.options)
    answer = torch.tensor(tokens)
    assert torch.equal(scaffold.fill(scaffold.values(answer)), answer)
    assert tokens[-1] == STOP


@settings(max_examples=40, deadline=None)
@given(
    prompt=prompts, seed=st.integers(0, 10**6), template=templates, form=st.sampled_from(FREE), spec=st.sampled_from(SCAFFOLD_SPECS)
)
def test_a_flow_is_honoured(prompt, seed, template, form, spec) -> None:
    flow = flowing(template, Letters(), vocab_size=VOCAB, stop_id=STOP)
    canvas = constrained(torch.tensor(prompt), flow, 4)
    tokens = decode(form.strategy, canvas, SlowHost(TinyTransformer(seed, VOCAB), spec), **form.options)
    cursor = flow.cursor(0, torch.tensor(tokens))
    for t in tokens:
        assert cursor.allows(t)
        cursor.step(t)
    assert cursor.over


@settings(max_examples=60, deadline=None)
@given(
    prompt=ids,
    seed=st.integers(0, 10**6),
    template=st.one_of(st.none(), templates),
    form=st.sampled_from(FORMS),
    spec=st.sampled_from(SCAFFOLD_SPECS),
    stop_at=st.integers(1, 12),
)
def test_a_fresh_strategy_continues_where_another_was_closed(prompt, seed, template, form, spec, stop_at) -> None:
    assume(template is not None or not form.sections)
    model = TinyTransformer(seed, VOCAB)

    def fresh() -> Canvas:
        return (
            Canvas.open(torch.tensor(prompt), 14) if template is None else scaffolded(torch.tensor(prompt), compiled(template), 3)
        )

    expected = decode(form.strategy, fresh(), SlowHost(model, spec), **form.options)
    canvas, host = fresh(), SlowHost(model, spec)
    while canvas.finish is None:
        for n, _ in enumerate(run(form.strategy(canvas, spec, **form.options), host), start=1):
            if n >= stop_at:
                break
        stop_at += 1
    assert canvas.answer().tolist() == expected


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6, 8, 12, 24, 25])
def test_static_takes_its_steps(steps, shift) -> None:
    """Three blocks of 24 open rows: prefill, then per block the passes and (but for the last) a commit pass.

    Label shift 1 decides a block's first row outside its passes, which matters only where every pass decides one.
    """
    spec = BlockSpec(block_size=24, mask_token_id=MASK, draft_shift=shift)
    host = SlowHost(TinyTransformer(5, 22), spec)
    decode(static, Canvas.open(torch.tensor([1, 2, 3]), 72), host, steps=steps)
    passes = min(steps, 24 - shift)
    assert host.forwards == 1 + 3 * passes + 2


@pytest.mark.parametrize(
    "form", [Form(threshold, "threshold", 2.0), Form(factor, "factor", 1e-9), Form(entropy_bound, "entropy", 0.0)]
)
def test_the_strictest_rules_decide_one_row_a_pass(form) -> None:
    spec = SPECS[3]
    host = SlowHost(TinyTransformer(5, 22, scale=0.3), spec)
    decode(form.strategy, Canvas.open(torch.tensor([1, 2, 3]), 12), host, **form.options)
    assert host.forwards == 1 + 12 + 2


def test_a_held_first_row_alone_costs_no_pass() -> None:
    """Blocks of one open row: its prediction comes with the pass before, so prefill and commit passes are all there is."""
    template = Template(sections=(TemplateSection(name="s", parts=(Choice(options=tuple("abcd")),) * 5),))
    spec = SCAFFOLD_SPECS[0]
    host = SlowHost(TinyTransformer(1, VOCAB), spec)
    scaffold = compiled(template)
    decode(section_diffusion, scaffolded(torch.tensor([1, 2]), scaffold, 1), host)
    assert host.forwards == 5


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        (static, {"steps": 0}, "steps must be a positive integer, the denoising passes of a block: got 0"),
        (static, {"steps": 2.5}, "got 2.5"),
        (factor, {"factor": 0}, "factor must be a positive number, about 1: got 0"),
        (factor, {"factor": float("nan")}, "got nan"),
        (entropy_bound, {"entropy": -1}, "entropy must be a number of nats, 0 or more: got -1"),
        (entropy_bound, {"entropy": "0.3"}, "got '0.3'"),
        (threshold, {"sub_block": 0}, "sub_block must be a positive integer, the rows denoised at a time: got 0"),
    ],
)
def test_bad_options_are_refused_before_anything_is_computed(strategy, options, message) -> None:
    with pytest.raises(InputError, match=message) as e:
        strategy(Canvas.open(torch.tensor([1]), 4), SPECS[0], **options)
    assert "\n" not in str(e.value)


def test_section_diffusion_needs_a_scaffold() -> None:
    with pytest.raises(UnsupportedError, match=r"this is free text: give a schema .* or use strategy 'threshold'"):
        section_diffusion(Canvas.open(torch.tensor([1]), 4), SPECS[0])
    flow = flowing(Template(sections=(TemplateSection(name="s", parts=(Text(text="a"),)),)), Letters(), vocab_size=VOCAB)
    with pytest.raises(UnsupportedError, match="rows have no fixed places"):
        section_diffusion(constrained(torch.tensor([1]), flow, 4), SPECS[0])
