"""Threshold decoding against the slow decoder, its forwards, and scaffolds under it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.canvas import scaffolded
from decoding.loop import run
from decoding.threshold import threshold
from edge.core.types import Canvas
from tests.decoding.slow_denoise import SPECS, by_threshold, slow_free
from tests.decoding.slow_host import SlowHost, TinyTransformer
from tests.decoding.test_exactness import PAD, STOP, VOCAB, compiled, prompts, templates
from tests.decoding.test_exactness import spec as scaffold_spec


@settings(max_examples=60, deadline=None)
@given(
    prompt=st.lists(st.integers(0, 20), min_size=1, max_size=13),
    n=st.integers(1, 14),
    seed=st.integers(0, 10**6),
    tau=st.sampled_from([0.0, 0.3, 0.6, 0.9, 1.0]),
    spec=st.sampled_from(SPECS),
)
def test_equals_the_slow_decoder(prompt, n, seed, tau, spec) -> None:
    model = TinyTransformer(seed, 22)
    canvas = Canvas.open(torch.tensor(prompt), n)
    for _ in run(threshold(canvas, spec, threshold=tau), SlowHost(model, spec)):
        pass
    assert canvas.answer().tolist() == slow_free(model, spec, prompt, n, by_threshold(tau))


@pytest.mark.parametrize(("tau", "forwards"), [(0.0, 1 + 2 * 3 - 1), (1.1, 1 + 3 + 1 + 3 + 1 + 3)])
def test_counts_of_forwards(tau, forwards) -> None:
    """Three blocks of four: prefill, then per block the denoising passes and (but for the last) one commit pass."""
    spec = SPECS[0]
    host = SlowHost(TinyTransformer(5, 22), spec)
    canvas = Canvas.open(torch.tensor([1, 2, 3]), 12)
    for _ in run(threshold(canvas, spec, threshold=tau), host):
        pass
    assert host.forwards == forwards


@settings(max_examples=60, deadline=None)
@given(prompt=prompts, seed=st.integers(0, 10**6), template=templates, tau=st.sampled_from([0.0, 0.5, 0.9]))
def test_a_scaffold_is_honoured_whatever_is_committed_first(prompt, seed, template, tau) -> None:
    scaffold = compiled(template)
    spec = scaffold_spec()
    canvas = scaffolded(torch.tensor(prompt), scaffold, 4)
    for _ in run(threshold(canvas, spec, threshold=tau), SlowHost(TinyTransformer(seed, VOCAB), spec)):
        pass
    tokens = canvas.answer()
    assert torch.equal(scaffold.fill(scaffold.values(tokens)), tokens)
    assert tokens[-1] == STOP
    assert PAD not in tokens[scaffold.frozen].tolist()
