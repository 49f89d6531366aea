"""Threshold decoding against a slow decoder written from the published loop: no cache, no canvas, full recomputation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.canvas import scaffolded
from decoding.loop import run
from decoding.threshold import threshold
from edge.core.blockspec import BlockSpec
from edge.core.types import Canvas
from tests.decoding.slow_host import SlowHost, TinyTransformer
from tests.decoding.test_exactness import PAD, STOP, VOCAB, compiled, prompts, templates
from tests.decoding.test_exactness import spec as scaffold_spec

MASK = 21
SPECS = [
    BlockSpec(block_size=4, mask_token_id=MASK),  # Fast-dVLM
    BlockSpec(block_size=4, mask_token_id=MASK, grid_origin="absolute", prompt="block", commit="block", causal_mode=False),  # v2
    BlockSpec(block_size=4, mask_token_id=MASK, draft_shift=0, prompt="block", commit="block", causal_mode=False),
    BlockSpec(block_size=4, mask_token_id=MASK, draft_shift=0, prompt="causal", commit="causal"),
    BlockSpec(block_size=4, mask_token_id=MASK, draft_shift=0, prompt="full", commit="block", causal_mode=False),
]


def slow(model: TinyTransformer, spec: BlockSpec, prompt: list[int], n: int, tau: float) -> list[int]:
    """The published loops, on the whole sequence at every step."""
    p, b = len(prompt), spec.block_size
    total = p + n
    x = prompt + [MASK] * n
    known = [True] * p + [False] * n
    origin = 0 if spec.grid_origin == "absolute" else p

    def block_of(i: int) -> int:
        return (i - origin) // b if i >= p or spec.grid_origin == "absolute" else -1

    def order_of(i: int, live: int) -> float:
        """Position for causal rows, the block's first row otherwise; `live` is the block being denoised."""
        if i < p and not (spec.grid_origin == "absolute" and block_of(i) == live):
            return {"causal": i, "block": i // b * b, "full": 0}[spec.prompt]
        first = max(block_of(i) * b + origin, 0)
        return first if block_of(i) == live or spec.commit == "block" else i

    def predict(i: int, upto: int, live: int) -> torch.Tensor:
        rows = list(range(upto))
        orders = torch.tensor([order_of(r, live) for r in rows])
        mask = orders[None] <= orders[:, None]
        logits = model(torch.tensor([x[r] if known[r] else MASK for r in rows]), torch.tensor(rows), mask)
        logits[:, MASK] = float("-inf")
        return logits[i]

    live = block_of(p)
    if spec.draft_shift and block_of(p - 1) != live:  # the first token comes from the prompt's own pass
        x[p], known[p] = int(predict(p - 1, p, live - 1 if spec.grid_origin == "absolute" else -9).argmax()), True
    while True:
        end = min((live + 1) * b + origin, total)
        start = max(live * b + origin, 0)
        while not all(known[start:end]):
            open_ = [i for i in range(start, end) if not known[i]]
            scores = [predict(i - spec.draft_shift, end, live).softmax(-1) for i in open_]
            best = [float(s.max()) for s in scores]
            take = [k for k, c in enumerate(best) if c >= tau] or [best.index(max(best))]
            for k in take:
                x[open_[k]] = int(scores[k].argmax())
            for k in take:
                known[open_[k]] = True
        if end == total:
            return x[p:]
        live += 1
        if spec.draft_shift:
            x[end], known[end] = int(predict(end - 1, end, live if spec.commit == "causal" else live - 1).argmax()), True


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
    assert canvas.answer().tolist() == slow(model, spec, prompt, n, tau)


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
