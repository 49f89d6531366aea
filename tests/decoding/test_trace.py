"""What a trace says of a forward, against what is known of the answer from elsewhere."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding import rows
from decoding.autoregressive import autoregressive
from decoding.canvas import constrained, scaffolded
from decoding.fused import fused
from decoding.loop import run
from decoding.schema import build
from decoding.self_speculative import self_speculative
from decoding.template import Choice, Template, TemplateSection
from decoding.threshold import threshold
from decoding.trace import Effect, effect, watched
from edge.core.blockspec import BlockSpec
from edge.core.tracing import State
from edge.core.types import GUESS, TRUNK, After, At, Call, Canvas, Strategy
from tests.decoding.slow_host import SlowHost, TinyTransformer
from tests.decoding.test_exactness import FORMS, STOP, VOCAB, Letters, compiled, copied, prompts, spec, templates

CASES = 500 if os.environ.get("EDGE_CASES") != "small" else 50
ALL = [(autoregressive, {}), (threshold, {}), (threshold, {"threshold": 0.3}), *((s, o) for s, o, _ in FORMS)]


def traced(form, canvas: Canvas, host: SlowHost, block_size: int = 8) -> tuple[list[Call], list[Effect]]:
    """Decodes; every call, and what it did."""
    effects: list[Effect] = []
    return list(run(watched(plain(form, canvas, host.spec, block_size), canvas, effects.append), host)), effects


def plain(form, canvas: Canvas, the_spec: BlockSpec, block_size: int) -> Strategy:
    strategy, options = form
    return strategy(canvas, the_spec, **(options if strategy is autoregressive else {**options, "block_size": block_size}))


def canvases(prompt: list[int], template, block_size: int, n: int, padded: bool) -> Canvas:
    """Free text, a scaffold, or a flow, whose rows get their places on the way."""
    if template is None:
        return Canvas.open(torch.tensor(prompt), n)
    if padded:
        return scaffolded(torch.tensor(prompt), compiled(template), block_size)
    flow = build(template, Letters(), vocab_size=VOCAB, pad_token_id=None, stop_id=STOP)
    return constrained(torch.tensor(prompt), flow, block_size)


cases = {
    "prompt": prompts,
    "seed": st.integers(0, 10**6),
    "block_size": st.integers(2, 16),
    "n": st.integers(1, 30),
    "template": st.one_of(st.none(), templates),
    "padded": st.booleans(),
    "scale": st.sampled_from([0.3, 1.0]),
}


@pytest.mark.parametrize("form", ALL, ids=lambda f: f"{f[0].__name__} {f[1]}")
@settings(max_examples=CASES, deadline=None)
@given(**cases)
def test_totals(form, prompt, seed, block_size, n, template, padded, scale) -> None:
    """Every row that was decided is counted once; forwards, rows and tokens are those of the host and the canvas."""
    canvas, model = canvases(prompt, template, block_size, n, padded), TinyTransformer(seed, VOCAB, scale=scale)
    unwatched, host, p = copied(canvas), SlowHost(model, spec()), canvas.prompt_len
    known = {r: int(canvas.tokens[r]) for r in range(p, len(canvas)) if canvas.decided[r]}
    calls, effects = traced(form, canvas, host, block_size)
    assert len(effects) == host.forwards
    assert [e.rows for e in effects] == [len(c) for c in calls]
    for _ in run(plain(form, unwatched, spec(), block_size), SlowHost(model, spec())):
        pass
    assert unwatched.answer().tolist() == canvas.answer().tolist(), "who is watched decodes as who is not"
    if not effects:
        assert template is not None, "an answer without a choice needs no forward"
        return
    letters = "".join(e.states for e in effects)
    decided = sum(letters.count(s) for s in (State.ACCEPTED, State.CORRECTED, State.NEW, State.SETTLED))
    assert decided - sum(e.dropped for e in effects) == int((~canvas.frozen).sum())
    for e in effects:
        known |= {p + row: token for row, token in e.written}
    assert [known[r] for r in range(p, len(canvas))] == canvas.answer().tolist()
    assert len(effects[-1].states.rstrip(State.GONE + State.REJECTED)) == len(canvas) - p


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f[0].__name__} {f[1]}")
@settings(max_examples=CASES, deadline=None)
@given(**cases)
def test_guesses_count_as_far_as_they_are_the_answer(form, prompt, seed, block_size, n, template, padded, scale) -> None:
    """The slow twin of accepted, corrected and rejected: the guesses of a call beside the answer as `ar` gives it."""
    canvas, model = canvases(prompt, template, block_size, n, padded), TinyTransformer(seed, VOCAB, scale=scale)
    other, p = copied(canvas), canvas.prompt_len
    for _ in run(autoregressive(other, spec()), SlowHost(model, spec())):
        pass
    answer = dict(enumerate(other.tokens.tolist()))
    known = set(range(p)) | {r for r in range(p, len(canvas)) if canvas.decided[r]}
    for call, e in zip(*traced(form[:2], canvas, SlowHost(model, spec()), block_size), strict=True):
        known |= set(range(p, p + e.frontier))  # settled ahead of the first call
        shown = [(r, t) for r, t, b, m in rows_of(call) if b == TRUNK and not m and r not in known]
        right = next((k for k, (r, t) in enumerate(shown) if answer.get(r) != t), len(shown))
        wrong = shown[right:]
        corrected = int(bool(wrong) and wrong[0][0] in answer)
        assert e.states.count(State.ACCEPTED) == right
        assert e.states.count(State.CORRECTED) == corrected
        settled = sum(e.states[r - p] == State.SETTLED for r, _ in wrong)
        joined = sum(e.states[r - p] == State.FROZEN for r, _ in wrong)
        assert e.states.count(State.REJECTED) == len(wrong) - corrected - settled - joined
        assert e.missed == [(r - p, t) for r, t in wrong]
        known |= {p + r for r, _ in e.written}


def rows_of(call: Call):
    return zip(call.position.tolist(), call.tokens.tolist(), call.branch.tolist(), call.masked.tolist(), strict=True)


@settings(max_examples=CASES, deadline=None)
@given(**cases)
def test_ar_decides_one_row_by_every_forward_that_predicts(prompt, seed, block_size, n, template, padded, scale) -> None:
    canvas = canvases(prompt, template, block_size, n, padded)
    calls, effects = traced((autoregressive, {}), canvas, SlowHost(TinyTransformer(seed, VOCAB, scale=scale), spec()))
    assert [e.states.count(State.NEW) for e in effects] == [len(c.want) for c in calls]
    assert [e.kind for e in effects] == ["prefill", *["step"] * (len(effects) - 1)][: len(effects)]
    assert all(e.drafted == 0 == e.states.count(State.GUESSED) for e in effects)


def test_kinds() -> None:
    """Free text of 12 rows behind 3, blocks of four: what the calls of each strategy are."""

    def kinds(form, the_spec: BlockSpec) -> list[str]:
        canvas = Canvas.open(torch.tensor([1, 2, 3]), 12)
        return [e.kind for e in traced(form, canvas, SlowHost(TinyTransformer(5, VOCAB), the_spec), 4)[1]]

    found = kinds((self_speculative, {}), spec())
    assert found == ["prefill", *["draft", "verify"] * (len(found) // 2)]
    assert set(kinds((fused, {}), spec())[:-1]) == {"fused"}
    one = ["denoise", "step"] * 3
    assert kinds((threshold, {"threshold": 0.0}), spec(stop_ids=())) == ["prefill", *one[:-1]]
    none = spec(stop_ids=(), commit="none", causal_mode=False, draft_shift=0)
    assert kinds((threshold, {"threshold": 0.0}), none) == ["prefill", *["denoise"] * 3]


def test_a_settled_opening_is_told_with_the_first_forward() -> None:
    """The answer begins with "a" whatever is chosen: no forward predicts it, and the prompt's forward shows it as no guess."""
    template = Template(sections=(TemplateSection(name="s", parts=(Choice(options=("a", "abc")),)),))
    canvas = canvases([1, 2, 3], template, 4, 0, padded=False)
    _, (first, *_) = traced((autoregressive, {}), canvas, SlowHost(TinyTransformer(1, VOCAB), spec()))
    assert first.kind == "prefill"
    assert first.states[:2] == "sn"
    assert [row for row, _ in first.written][:2] == [0, 1]
    assert first.missed == []


def test_rows_behind_a_stop_are_dropped() -> None:
    """Threshold decoding decides rows behind a stop token before it knows of it."""
    dropped = 0
    for seed in range(40):
        canvas = Canvas.open(torch.tensor([1, 2, 3]), 12)
        _, effects = traced((threshold, {"threshold": 0.4}), canvas, SlowHost(TinyTransformer(seed, VOCAB), spec()), 4)
        dropped += sum(e.dropped for e in effects)
        assert all(e.dropped == 0 for e in effects[:-1])
    assert dropped > 0


def test_rows_that_are_taken_back_are_dropped_and_count_anew() -> None:
    """No strategy has to stand by what it decided: one row is opened again, one rewritten, one stays."""
    told = Canvas.open(torch.tensor([7]), 4)
    told.tokens[1:4], told.decided[1:4] = torch.tensor([1, 2, 3]), True
    after = copied(told)
    after.decided[2], after.tokens[3], after.decided[4] = False, 9, True
    e = effect(told, told, rows.block(told, 1, 5, (At(3),)), after)
    assert e.states == "d.nn"
    assert (e.kind, e.drafted, e.dropped, e.written) == ("denoise", 1, 2, [(2, 9), (3, 0)])


def test_a_forward_that_decides_its_masked_rows_denoises_whatever_is_beside_them() -> None:
    """A window behind pending rows, decided and encoded at once: the same call is a fused draft where nothing comes of it."""
    told = Canvas.open(torch.tensor([7]), 3)
    after = copied(told)
    after.decided[3] = True
    call = rows.fused(told, 0, 1, told.tokens, (), [(1, 4, torch.tensor([2, 3]))])
    assert (effect(told, told, call, after).kind, effect(told, told, call, told).kind) == ("denoise", "fused")


def test_only_what_is_shown_on_the_trunk_is_a_guess() -> None:
    told = Canvas.open(torch.tensor([7]), 2)
    call = rows.causal(told, 0, 3, (After(0),), guess=torch.tensor([7, 1, 2]))
    aside = dataclasses.replace(call, branch=torch.tensor([TRUNK, TRUNK, GUESS]))
    assert effect(told, told, call, told).missed == [(0, 1), (1, 2)]
    assert effect(told, told, aside, told).missed == [(0, 1)]
