"""Deferred commitment decoding against a slow decoder written from the published loop, and against threshold decoding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding import flow
from decoding.canvas import constrained, scaffolded
from decoding.deferred import deferred, in_window
from decoding.loop import run
from decoding.rules import greedy, sampler
from decoding.template import Choice, Template, TemplateSection, Text
from decoding.threshold import threshold
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError
from edge.core.types import Call, Canvas
from tests.decoding.slow_host import SlowHost, TinyTransformer
from tests.decoding.test_exactness import CASES, MASK, STOP, VOCAB, Letters, compiled, copied, prompts, templates
from tests.decoding.test_streaming import is_valid


def spec(**kwargs) -> BlockSpec:
    return BlockSpec(**({"block_size": 6, "mask_token_id": MASK, "stop_ids": (STOP, 4)} | kwargs))


V2 = spec(grid_origin="absolute", prompt="block", commit="block", causal_mode=False)
WHOLE = spec(draft_shift=0, prompt="full", commit="none", causal_mode=False)
BLOCKED = [
    spec(),
    V2,
    spec(draft_shift=0),
    spec(draft_shift=0, prompt="block", commit="block", causal_mode=False),
    spec(draft_shift=0, prompt="full", commit="block", causal_mode=False),
]
SHIFTED_WHOLE = spec(prompt="full", commit="none", causal_mode=False)


def slow(model, spec: BlockSpec, prompt: list[int], n: int, tau: float, masks: int, longest: int, pick=greedy) -> list[int]:
    """The published loop on the whole text at every step. The prediction of row i is read at row i - shift."""
    p, total = len(prompt), len(prompt) + n
    text: list[int | None] = [*prompt, *[None] * n]
    absolute, whole = spec.grid_origin == "absolute", spec.prompt == "full" and spec.commit == "none"
    starts = [p] if whole else [s for s in range(0 if absolute else p, total, spec.block_size) if absolute or s >= p]

    def group(i: int, live: int) -> int:
        """Rows see groups up to their own; `live` is the first row of the block in work."""
        mine = max((s for s in starts if s <= i), default=-1)
        if mine == live or (i >= p and spec.commit == "block"):
            return mine
        if i >= p or spec.prompt == "causal":
            return i
        return i // spec.block_size * spec.block_size if spec.prompt == "block" else 0

    def predict(i: int, end: int, live: int) -> torch.Tensor:
        groups = torch.tensor([group(r, live) for r in range(end)])
        tokens = torch.tensor([MASK if t is None else t for t in text[:end]])
        logits = model(tokens, torch.arange(end), groups[None] <= groups[:, None])[i - spec.draft_shift]
        logits[MASK] = float("-inf")
        return logits

    def at(row: int, logits: torch.Tensor) -> int:
        return int(pick(logits[None], torch.tensor([row]))[0])

    def answer() -> list[int] | None:
        """What is said, once a stop token or the end is reached without a gap."""
        said: list[int] = []
        for t in text[p:]:
            if t is None:
                return None
            said.append(t)
            if t in spec.stop_ids:
                break
        return said

    for n_block, start in enumerate(starts):
        end = starts[n_block + 1] if n_block + 1 < len(starts) else total
        if end <= p:
            continue
        if spec.draft_shift and start >= p:  # the first row comes from the pass that ended what is before it
            # a causal commit sees row by row; a block commit, and the prompt, as their own groups do
            before = start - 1 if start == p or spec.commit == "causal" else starts[n_block - 1]
            text[start] = at(start, predict(start, start, -9 if start == p or spec.commit == "causal" else before))
        while (found := answer()) is None and None in text[start:end]:
            left = text.index(None)
            window = [r for r in range(left, min(left + longest, end)) if text[r] is None][:masks]
            guesses = {r: predict(r, end, start) for r in window}
            ids = {r: at(r, g) for r, g in guesses.items()}
            sure = {r: float(g.softmax(-1)[ids[r]]) for r, g in guesses.items()}
            best = max(window, key=lambda r: (sure[r], -r))
            for r in [r for r in window if sure[r] >= tau] or [best]:
                text[r] = ids[r]
        if found is not None or (found := answer()) is not None:
            return found
    raise AssertionError("the last block ends the answer")


def decode(strategy, canvas: Canvas, host: SlowHost, **options) -> list[int]:
    for _ in run(strategy(canvas, host.spec, **options), host):
        pass
    assert canvas.finish is not None
    return canvas.answer().tolist()


rules = st.fixed_dictionaries(
    {
        "threshold": st.sampled_from([0.0, 0.3, 0.6, 0.9, 1.0]),
        "initial_window": st.integers(1, 9),
        "max_window": st.integers(1, 12),
    }
)
picks = st.one_of(st.just(greedy), st.builds(sampler, st.floats(0.2, 2.0), st.floats(0.3, 1.0), st.integers(0, 99)))


@settings(max_examples=CASES, deadline=None)
@given(
    prompt=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=14),
    n=st.integers(1, 20),
    seed=st.integers(0, 10**6),
    the_spec=st.sampled_from([*BLOCKED, WHOLE, SHIFTED_WHOLE]),
    rule=rules,
    pick=picks,
)
def test_equals_the_slow_decoder(prompt, n, seed, the_spec, rule, pick) -> None:
    """Prompts of one token and with literal mask tokens, short last blocks, stop tokens inside the window."""
    model = TinyTransformer(seed, VOCAB)
    expected = slow(model, the_spec, prompt, n, rule["threshold"], rule["initial_window"], rule["max_window"], pick)
    canvas = Canvas.open(torch.tensor(prompt), n)
    assert decode(deferred, canvas, SlowHost(model, the_spec), pick=pick, **rule) == expected
    assert canvas.finish == ("stop" if expected[-1] in the_spec.stop_ids else "length")


@settings(max_examples=CASES, deadline=None)
@given(
    prompt=prompts,
    n=st.integers(1, 20),
    seed=st.integers(0, 10**6),
    the_spec=st.sampled_from([*BLOCKED, WHOLE]),
    size=st.integers(1, 9),
    template=st.none() | templates,
    tau=st.sampled_from([0.0, 0.3, 0.9]),
    pick=picks,
)
def test_a_window_as_wide_as_the_block_is_threshold_decoding(prompt, n, seed, the_spec, size, template, tau, pick) -> None:
    model, ids = TinyTransformer(seed, VOCAB), torch.tensor(prompt)
    if the_spec is WHOLE:
        template = None  # `threshold` cannot keep a block of commit "none" in which nothing was open
    canvas = Canvas.open(ids, n) if template is None else scaffolded(ids, compiled(template), size)
    other = copied(canvas)
    slower, faster = SlowHost(model, the_spec), SlowHost(model, the_spec)
    expected = decode(threshold, other, slower, threshold=tau, block_size=size, pick=pick)
    assert (
        decode(deferred, canvas, faster, threshold=tau, block_size=size, initial_window=300, max_window=300, pick=pick) == expected
    )
    assert canvas.finish == other.finish
    assert faster.forwards <= slower.forwards, "a stop token inside a block ends the answer without the rest of it"


@settings(max_examples=CASES, deadline=None)
@given(
    prompt=prompts,
    seed=st.integers(0, 10**6),
    the_spec=st.sampled_from([*BLOCKED, WHOLE]),
    template=templates,
    rule=rules,
    size=st.none() | st.integers(1, 9),
    pick=picks,
    padded=st.booleans(),
)
def test_a_schema_is_honoured_whatever_is_committed_first(prompt, seed, the_spec, template, rule, size, pick, padded) -> None:
    made = compiled(template) if padded else flow.build(template, Letters(), vocab_size=VOCAB, stop_id=STOP)
    canvas = constrained(torch.tensor(prompt), made, size or the_spec.block_size)
    fresh, rule = copied(canvas), rule | {"block_size": size}
    decode(deferred, canvas, SlowHost(TinyTransformer(seed, VOCAB), the_spec), pick=pick, **rule)
    assert is_valid(canvas, canvas.answer())
    assert canvas.answer()[-1] == STOP
    again = SlowHost(TinyTransformer(seed, VOCAB), the_spec)
    assert decode(deferred, fresh, again, pick=pick, **rule) == canvas.answer().tolist(), "the same seed gives the same answer"


def test_a_block_in_which_nothing_was_open_is_computed_before_it_is_kept() -> None:
    """Commit "none" keeps the last denoising pass; a forced block has none, such as the third row behind "aa"."""
    options = Choice(options=("a", "aaa"))
    scaffold = compiled(Template(sections=(TemplateSection(name="s", parts=(options, Text(text="b"), options)),)))
    canvas, host = scaffolded(torch.tensor([1, 2]), scaffold, 1), SlowHost(TinyTransformer(0, VOCAB), WHOLE)
    decode(deferred, canvas, host, block_size=1)
    assert is_valid(canvas, canvas.answer())
    assert [position for _, _, position, _ in host.kept] == list(range(len(host.kept)))


def stubborn(tokens: torch.Tensor, position: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sure of every row but row 4, of which it is sure only once row 9 is there."""
    logits = torch.zeros(len(tokens), VOCAB, dtype=torch.float64)
    logits[:, 7] = 50.0
    if not bool(((position == 9) & (tokens != MASK)).any()):
        logits[position == 4, 7], logits[position == 4, 8] = 1.0, 1.1
    return logits


@pytest.mark.parametrize(
    ("the_spec", "options", "token"),
    [
        (WHOLE, {}, 7),  # the window leaves row 4 behind, reaches row 9, and comes back
        (WHOLE, {"block_size": 4}, 8),  # a border behind row 5 forces it
        (WHOLE, {"max_window": 5}, 8),  # so does a window that reaches row 8
        (WHOLE, {"max_window": 6}, 7),
        (spec(draft_shift=0, block_size=4), {}, 8),
        (spec(draft_shift=0, block_size=8), {}, 7),
    ],
)
def test_an_unsure_row_waits_for_what_is_behind_it(the_spec, options, token) -> None:
    """With rows 2 to 11 open and two masked rows a window."""
    canvas = Canvas.open(torch.tensor([1, 2]), 10)
    host = SlowHost(stubborn, the_spec)  # type: ignore[arg-type]
    assert decode(deferred, canvas, host, initial_window=2, **options) == [7, 7, token, *[7] * 7]


def test_the_window_has_two_bounds() -> None:
    rows = torch.tensor([3, 4, 7, 8, 12])
    assert in_window(rows, 3, 99).tolist() == [3, 4, 7]
    assert in_window(rows, 9, 5).tolist() == [3, 4, 7]
    assert in_window(rows, 9, 6).tolist() == [3, 4, 7, 8]
    assert in_window(rows, 1, 1).tolist() == [3]


def test_only_rows_of_the_window_go_through_the_head() -> None:
    canvas = Canvas.open(torch.tensor([1, MASK]), 12)
    host = SlowHost(TinyTransformer(2, VOCAB), WHOLE)
    calls: list[Call] = list(run(deferred(canvas, WHOLE, initial_window=3), host))
    assert len(calls[1]) == 12
    assert len(calls[1].want) == 3
    assert max(len(c.want) for c in calls) == 3


@settings(max_examples=CASES // 3, deadline=None)
@given(
    prompt=prompts, seed=st.integers(0, 10**6), n=st.integers(1, 20), the_spec=st.sampled_from([*BLOCKED, WHOLE]), rule=rules,
    template=st.none() | templates, at=st.integers(1, 9),
)  # fmt: skip
def test_a_fresh_strategy_continues_from_any_forward(prompt, seed, n, the_spec, rule, template, at) -> None:
    model, ids = TinyTransformer(seed, VOCAB), torch.tensor(prompt)
    canvas = Canvas.open(ids, n) if template is None else scaffolded(ids, compiled(template), the_spec.block_size)
    whole, host = copied(canvas), SlowHost(model, the_spec)
    expected = decode(deferred, whole, SlowHost(model, the_spec), **rule)
    while canvas.finish is None:
        for k, _ in enumerate(run(deferred(canvas, the_spec, **rule), host), start=1):
            if k >= at:
                break
    assert canvas.answer().tolist() == expected
    assert canvas.finish == whole.finish


@pytest.mark.parametrize("options", [{"initial_window": 0}, {"max_window": 0}])
def test_an_empty_window_is_refused(options) -> None:
    with pytest.raises(InputError, match="initial_window and max_window must be at least 1 row"):
        next(deferred(Canvas.open(torch.tensor([1]), 4), spec(), **options))
