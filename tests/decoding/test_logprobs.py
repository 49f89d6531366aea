"""Log-probabilities and stop reasons of fast strategies against a slow one that recomputes everything, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.autoregressive import autoregressive
from decoding.canvas import scaffolded
from decoding.ending import until
from decoding.fused import fused
from decoding.logprobs import Listener
from decoding.loop import run
from decoding.rules import restrict, sampler
from decoding.self_speculative import self_speculative
from edge.core.blockspec import BlockSpec
from edge.core.types import Canvas
from tests.decoding.slow_host import SlowHost, TinyTransformer
from tests.decoding.test_exactness import CASES, MASK, STOP, VOCAB, compiled, prompts, templates

SPEC = BlockSpec(block_size=5, mask_token_id=MASK, stop_ids=(STOP,))
STRATEGIES = [autoregressive, self_speculative, fused, lambda c, s, **k: fused(c, s, across=True, branches=2, **k)]


def model_of(seed: int) -> TinyTransformer:
    return TinyTransformer(seed, VOCAB)


def slow(model: TinyTransformer, prompt: list[int], answer: list[int], scaffold) -> list[torch.Tensor]:
    """Log-softmax [V] of every answer row, each from one causal pass over everything before it."""
    out, p = [], len(prompt)
    for n in range(len(answer)):
        text = torch.tensor(prompt + answer[:n])
        order = torch.arange(len(text))
        logits = model(text, order, order[None] <= order[:, None])[-1]
        logits[MASK] = float("-inf")
        ids = None if scaffold is None else [scaffold.cursor(n, torch.tensor(answer)).ids()]
        out.append(restrict(logits[None], ids)[0].log_softmax(-1))
    assert p + len(out) == len(prompt) + len(answer)
    return out


@settings(max_examples=CASES, deadline=None)
@given(
    seed=st.integers(0, 999),
    which=st.integers(0, 3),
    prompt=prompts,
    n=st.integers(1, 20),
    template=st.none() | templates,
    temperature=st.sampled_from([0.0, 1.0]),
)
def test_what_was_heard_is_what_causal_decoding_says(seed, which, prompt, n, template, temperature) -> None:
    model = model_of(seed)
    scaffold = None if template is None else compiled(template)
    at = torch.tensor(prompt)
    canvas = Canvas.open(at, n) if scaffold is None else scaffolded(at, scaffold, SPEC.block_size)
    listener = Listener(canvas, 3)
    strategy = listener.listen(STRATEGIES[which](canvas, SPEC, pick=sampler(temperature, 1.0, seed)))
    for _ in run(strategy, SlowHost(model, SPEC)):
        pass
    answer = canvas.answer().tolist()
    heard = listener.answer(answer)
    assert [h.token for h in heard] == answer
    for h, log in zip(heard, slow(model, prompt, answer, scaffold), strict=True):
        assert h.logprob == pytest.approx(float(log[h.token]), abs=1e-9)
        best = log.topk(3).values
        assert [x for _, x in h.top] == pytest.approx([float(x) for x in best if x != float("-inf")][: len(h.top)], abs=1e-9)


@settings(max_examples=CASES, deadline=None)
@given(
    seed=st.integers(0, 999), which=st.integers(0, 3), prompt=prompts, n=st.integers(1, 24), ends=st.sets(st.integers(0, VOCAB - 1))
)
def test_an_ended_answer_is_the_beginning_of_the_whole_one(seed, which, prompt, n, ends) -> None:
    model, at = model_of(seed), torch.tensor(prompt)
    whole = Canvas.open(at, n)
    for _ in run(autoregressive(whole, SPEC), SlowHost(model, SPEC)):
        pass
    expected = whole.answer().tolist()
    hit = next((k for k, t in enumerate(expected) if t in ends), None)

    def ending(canvas: Canvas) -> int | None:
        return next((k + 1 for k, t in enumerate(canvas.answer().tolist()) if t in ends), None)

    canvas = Canvas.open(at, n)
    for _ in run(until(STRATEGIES[which](canvas, SPEC), canvas, ending), SlowHost(model, SPEC)):
        pass
    assert canvas.answer().tolist() == (expected if hit is None else expected[: hit + 1])
    assert canvas.finish == (whole.finish if hit is None else "stop")
