"""Streaming window decoding against a slow decoder written from the published loop: no cache, no canvas, full recomputation."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from decoding import flow
from decoding.canvas import constrained, scaffolded
from decoding.loop import run
from decoding.rules import greedy, sampler
from decoding.streaming import doubt, streaming, surest
from decoding.template import Number, Template, TemplateSection, Text
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError, UnsupportedError
from edge.core.types import Call, Canvas
from edge.models.tape import Tape
from tests.decoding.slow_host import SlowHost, TinyTransformer
from tests.decoding.test_exactness import CASES, MASK, PAD, STOP, VOCAB, Letters, compiled, copied, prompts, templates
from tests.decoding.test_exactness import spec as shifted

Model = Callable[[Tensor, Tensor, Tensor], Tensor]
SPECS = [shifted(draft_shift=0), shifted(draft_shift=0, grid_origin="absolute"), shifted(draft_shift=0, stop_ids=(3, 5, 11, STOP))]


def slow(
    model: Model, spec: BlockSpec, prompt: list[int], n: int, window: int, bound: float, penalty: float, pick=greedy
) -> list[int]:
    """WeDLM's loop on the whole text at every step: rows lie in memory in their order, under a lower triangle."""
    text: dict[int, int] = dict(enumerate(prompt))
    total, committed = len(prompt) + n, len(prompt)
    while committed < total:
        window_rows = range(committed, min(committed + window, total))
        masks = [r for r in window_rows if r not in text]
        lie = sorted(text) + masks
        tokens = torch.tensor([text.get(r, spec.mask_token_id) for r in lie])
        logits = model(tokens, torch.tensor(lie), torch.ones(len(lie), len(lie)).tril().bool())[-len(masks) :]
        logits[:, spec.mask_token_id] = float("-inf")
        scores = []
        for k, row in enumerate(masks):
            p = logits[k].softmax(-1)
            scores.append(-sum(float(q) * math.log(float(q)) for q in p if q > 0) + penalty * (row - masks[0]))
        chosen = [k for k, s in enumerate(scores) if s < bound] or [scores.index(min(scores))]
        for k in chosen:
            text[masks[k]] = int(pick(logits[k : k + 1], torch.tensor([masks[k]]))[0])
        while committed in text:
            committed += 1
            if text[committed - 1] in spec.stop_ids:
                total = committed
                break
    return [text[r] for r in range(len(prompt), total)]


def decode(canvas: Canvas, host: SlowHost, **options) -> list[int]:
    frontier = canvas.frontier
    for _ in run(streaming(canvas, host.spec, **options), host):
        assert canvas.frontier >= frontier, "what has been streamed stays"
        assert canvas.kept <= canvas.frontier
        assert canvas.kept >= frontier or canvas.finish, "what was streamed before a forward is kept by it"
        frontier = canvas.frontier
    assert canvas.finish is not None
    return canvas.answer().tolist()


rules = st.fixed_dictionaries(
    {
        "window": st.integers(1, 20),
        "entropy": st.sampled_from([0.0, 0.4, 1.0, 2.0, 9.0]),
        "penalty": st.sampled_from([0.0, 0.02, 0.3]),
    }
)
picks = st.one_of(st.just(greedy), st.builds(sampler, st.floats(0.2, 2.0), st.floats(0.3, 1.0), st.integers(0, 99)))


@settings(max_examples=CASES, deadline=None)
@given(
    prompt=prompts,
    n=st.integers(1, 30),
    seed=st.integers(0, 10**6),
    spec=st.sampled_from(SPECS),
    scale=st.sampled_from([0.3, 1.0, 3.0]),
    rule=rules,
    pick=picks,
)
def test_equals_the_slow_decoder(prompt, n, seed, spec, scale, rule, pick) -> None:
    """Prompts of one token and with literal mask tokens, answers that are no multiple of the window, stops inside it."""
    model = TinyTransformer(seed, VOCAB, scale=scale)
    expected = slow(model, spec, prompt, n, rule["window"], rule["entropy"], rule["penalty"], pick)
    canvas = Canvas.open(torch.tensor(prompt), n)
    assert decode(canvas, SlowHost(model, spec), pick=pick, **rule) == expected
    assert canvas.finish == ("stop" if expected[-1] in spec.stop_ids else "length")


class Checked(SlowHost):
    """A slow host whose tape asserts the exactness rule, and that kept rows hold the keys and values of causal text."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.tape = Tape(1, 1, 1, 400, check=True)

    def forward(self, call: Call):
        self.tape.begin(call.order, call.branch, call.position)
        assert torch.equal(call.order, call.order.sort().values), "a plain causal kernel computes the rows as they lie"
        return super().forward(call)

    def keep(self, rows: Tensor) -> None:
        self.tape.keep(rows)
        super().keep(rows)
        assert [(order, position) for _, order, position, _ in self.kept] == [(i, i) for i in range(len(self.kept))]


def is_valid(canvas: Canvas, tokens: Tensor) -> bool:
    """Whether `tokens` is a complete answer, read from left to right."""
    assert canvas.constraint is not None
    cursor = canvas.constraint.cursor(0, tokens)
    for token in tokens.tolist():
        if cursor.over or not cursor.allows(token):
            return False
        cursor.step(token)
    return cursor.over


@settings(max_examples=CASES, deadline=None)
@given(prompt=prompts, seed=st.integers(0, 10**6), template=templates, rule=rules, pick=picks, padded=st.booleans())
def test_a_schema_is_honoured_whatever_is_filled_first(prompt, seed, template, rule, pick, padded) -> None:
    spec = SPECS[0]
    made = compiled(template) if padded else flow.build(template, Letters(), vocab_size=VOCAB, stop_id=STOP)
    canvas = constrained(torch.tensor(prompt), made, 8)
    fresh = copied(canvas)
    decode(canvas, Checked(TinyTransformer(seed, VOCAB), spec), pick=pick, **rule)
    assert is_valid(canvas, canvas.answer())
    assert canvas.answer()[-1] == STOP
    if padded:
        assert PAD not in canvas.answer()[compiled(template).frozen].tolist()
    again = Checked(TinyTransformer(seed, VOCAB), spec)
    assert decode(fresh, again, pick=pick, **rule) == canvas.answer().tolist(), "and the same seed gives the same answer"


def test_frozen_rows_in_the_window_are_seen_from_the_start() -> None:
    """Three frozen rows behind two open ones: the first forward orders them before the masks."""
    parts = (Number(integer_digits=1, decimals=0), Text(text="abc"))
    scaffold = compiled(Template(sections=(TemplateSection(name="s", parts=parts),)))
    canvas = scaffolded(torch.tensor([1, 2]), scaffold, 8)
    host = SlowHost(TinyTransformer(0, VOCAB), SPECS[0])
    first = next(streaming(canvas, SPECS[0], window=5))
    assert isinstance(first, Call)
    assert first.position.tolist() == [0, 1, 4, 5, 6, 2, 3]
    assert first.masked.tolist() == [False] * 5 + [True] * 2
    decode(canvas, host, window=5)
    assert canvas.answer()[2:5].tolist() == Letters().encode("abc")


@settings(max_examples=CASES // 3, deadline=None)
@given(
    prompt=prompts,
    seed=st.integers(0, 10**6),
    n=st.integers(1, 20),
    rule=rules,
    template=st.none() | templates,
    at=st.integers(1, 9),
)
def test_a_fresh_strategy_continues_from_any_forward(prompt, seed, n, rule, template, at) -> None:
    model, spec = TinyTransformer(seed, VOCAB), SPECS[2]
    ids = torch.tensor(prompt)
    canvas = Canvas.open(ids, n) if template is None else scaffolded(ids, compiled(template), 8)
    whole, host = copied(canvas), Checked(model, spec)
    expected = decode(whole, Checked(model, spec), **rule)
    while canvas.finish is None:
        for k, _ in enumerate(run(streaming(canvas, spec, **rule), host), start=1):
            if k >= at:
                break
    assert canvas.answer().tolist() == expected
    assert canvas.finish == whole.finish


@pytest.mark.parametrize(
    ("options", "forwards"),
    [
        ({"window": 1}, 11),
        ({"window": 4, "entropy": 99.0, "penalty": 0.0}, 3),
        ({"window": 11, "entropy": 99.0, "penalty": 0.0}, 1),
        ({"window": 4, "entropy": 99.0, "penalty": 50.0}, 6),
        ({"window": 4, "entropy": 0.0, "penalty": 50.0}, 11),
    ],
)
def test_counts_of_forwards(options, forwards) -> None:
    """Eleven tokens, and no forward but those that fill: the prompt and what is to be kept ride along. A penalty of 50 nats lets
    at most the first two masked rows pass a bound of 99, and one that no row passes fills from left to right."""
    host = SlowHost(TinyTransformer(5, VOCAB), shifted(draft_shift=0, stop_ids=()))
    canvas = Canvas.open(torch.tensor([1, 2, 3]), 11)
    decode(canvas, host, **options)
    assert host.forwards == forwards
    assert canvas.finish == "length"


def test_a_stop_token_ends_the_answer_only_when_nothing_before_it_is_open() -> None:
    """The model is sure of a stop token behind rows of which it is not: those are filled first, and the answer ends behind it."""

    def model(tokens: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        logits = torch.zeros(len(tokens), VOCAB, dtype=torch.float64)
        logits[position == 5, STOP] = 50.0
        logits[position != 5, 7] = 2.0
        return logits

    canvas = Canvas.open(torch.tensor([1, 2]), 9)
    host = SlowHost(model, SPECS[0])  # type: ignore[arg-type]
    lengths = []
    for _ in run(streaming(canvas, SPECS[0], window=4), host):
        lengths.append(len(canvas))
    assert lengths == [11, 11, 11, 6], "the stop at row 5 is filled first, rows 2, 3 and 4 one by one"
    assert canvas.answer().tolist() == [7, 7, 7, STOP]
    assert canvas.finish == "stop"


def test_the_rule_is_that_of_the_paper() -> None:
    flat, sure = torch.zeros(4), torch.tensor([9.0, -9.0, -9.0, float("-inf")])
    found = doubt(torch.stack([flat, sure, flat]).softmax(dim=-1), torch.tensor([0, 2, 5]), 0.1)
    assert found.tolist() == pytest.approx([math.log(4), 0.2, math.log(4) + 0.5], abs=1e-5)
    assert surest(torch.tensor([0.5, 0.1, 0.4, 0.1]), 0.4).tolist() == [1, 3]
    assert surest(torch.tensor([0.5, 0.5, 0.6]), 0.4).tolist() == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draft_shift": 1}, "draft_shift must be 0 and is 1; use strategy 'self-spec'"),
        ({"prompt": "full"}, "needs a causal prompt and causal commits.*prompt='full'"),
        ({"commit": "block"}, "commit='block'; use strategy 'threshold'"),
        ({"commit": "none"}, "commit='none'; use strategy 'threshold'"),
        ({"causal_mode": False}, "'streaming' runs in the model's causal mode.*use strategy 'threshold'"),
    ],
)
def test_other_conventions_are_refused(change, message) -> None:
    with pytest.raises(UnsupportedError, match=message):
        next(streaming(Canvas.open(torch.tensor([1]), 4), shifted(**{"draft_shift": 0} | change)))


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(InputError, match="window must be at least 1 row: got 0"):
        next(streaming(Canvas.open(torch.tensor([1]), 4), SPECS[0], window=0))


def test_mask_token_of_the_prompt_is_text() -> None:
    spec, prompt = SPECS[0], [4, MASK, MASK]
    canvas = Canvas.open(torch.tensor(prompt), 6)
    first = next(streaming(canvas, spec, window=3))
    assert isinstance(first, Call)
    assert first.masked.tolist() == [False] * 3 + [True] * 3
    assert first.tokens[:3].tolist() == prompt
