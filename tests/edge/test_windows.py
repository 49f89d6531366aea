"""The window decoders on the lean model and its tape, in float64: as on `transformers` without a cache."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

import edge
from decoding.canvas import prefill, scaffolded
from decoding.deferred import deferred
from decoding.loop import run
from decoding.rules import greedy, sampler
from decoding.streaming import streaming
from edge.core.errors import UnsupportedError
from edge.core.types import Canvas
from edge.core.visibility import additive
from edge.engine import Engine
from edge.models.loading import load_model
from edge.models.session import Session
from edge.models.tape import checking
from tests.decoding import test_deferred, test_streaming
from tests.decoding.slow_host import SlowHost
from tests.decoding.test_exactness import MASK, compiled, prompts, templates
from tests.edge.models import tiny
from tests.edge.test_engine import CASES, FORKED, save

BLOCKS = {"prompt": "block", "commit": "block", "causal_mode": False, "grid_origin": "absolute"}
WHOLE = {"prompt": "full", "commit": "none", "causal_mode": False}
FOLDERS = [(0.3, 0, {}), (0.1, 0, {}), (0.3, 1, {}), (0.3, 1, BLOCKS), (0.3, 0, WHOLE)]
"""Scale of the weights, label shift and conventions. `streaming` runs on the first two."""


class Uncached:
    """`transformers` itself, eager: logits float64 [R, V] of rows under any mask, called as the slow decoders do.

    Its norms compute in float32 in a model of any type, which is enough to swap rows of nearly equal confidence: here in float64.
    """

    def __init__(self, folder) -> None:
        self.model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
        for parent in list(self.model.modules()):
            for name, norm in list(parent.named_children()):
                if isinstance(norm, Qwen2RMSNorm):
                    exact = torch.nn.RMSNorm(norm.weight.shape, norm.variance_epsilon, dtype=torch.float64)
                    exact.weight = norm.weight
                    setattr(parent, name, exact)

    def __call__(self, tokens: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        with torch.no_grad():
            seen = additive(mask, torch.float64)[None, None]
            out = self.model(tokens[None], position_ids=position[None], attention_mask=seen, use_cache=False)
        return out.logits[0].clone()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> list[tuple[Engine, Uncached]]:
    assert checking(None), "the tape asserts its exactness rule throughout the suite"
    out = []
    for seed, (scale, shift, conventions) in enumerate(FOLDERS):
        folder = tmp_path_factory.mktemp("model")
        save(folder, seed, scale=scale, shift=shift, **conventions)
        out.append((edge.load(folder, dtype="float64"), Uncached(folder)))
    return out


sampling = st.sampled_from([(0.0, 0), (0.8, 3), (1.3, 4)])
told = prompts.filter(lambda prompt: set(prompt) != {MASK})
"""A prompt of masks alone gives all rows of the first block the same confidence, but for rounding."""


def on_slow_host(strategy, model: Uncached, canvas: Canvas, spec, **options) -> list[int]:
    for _ in run(strategy(canvas, spec, **options), SlowHost(model, spec)):  # type: ignore[arg-type]
        pass
    return canvas.answer().tolist()


@settings(max_examples=CASES, deadline=None)
@given(
    which=st.integers(0, 1),
    prompt=told,
    n=st.integers(1, 24),
    rule=test_streaming.rules,
    template=st.none() | templates,
    sampled=sampling,
)
def test_streaming_is_the_published_loop(pairs, which, prompt, n, rule, template, sampled) -> None:
    engine, model = pairs[which]
    pick = sampler(sampled[0], 1.0, sampled[1]) if sampled[0] else greedy
    schema = None if template is None else compiled(template)
    made = engine.generate(
        prompt, strategy="streaming", schema=schema, max_new_tokens=n if schema is None else 256, temperature=sampled[0],
        seed=sampled[1], **rule,
    )  # fmt: skip
    assert not made.lossless
    if schema is None:
        assert made.tokens == test_streaming.slow(
            model, engine.spec, prompt, n, rule["window"], rule["entropy"], rule["penalty"], pick
        )
    else:
        canvas = scaffolded(torch.tensor(prompt), schema, engine.spec.block_size)
        assert made.tokens == on_slow_host(streaming, model, canvas, engine.spec, pick=pick, **rule)


@settings(max_examples=CASES, deadline=None)
@given(
    which=st.integers(0, 4),
    prompt=told,
    n=st.integers(1, 24),
    rule=test_deferred.rules,
    template=st.none() | templates,
    sampled=sampling,
)
def test_deferred_commitment_is_the_published_loop(pairs, which, prompt, n, rule, template, sampled) -> None:
    engine, model = pairs[which]
    pick = sampler(sampled[0], 1.0, sampled[1]) if sampled[0] else greedy
    schema = None if template is None else compiled(template)
    made = engine.generate(
        prompt, strategy="dcd", schema=schema, max_new_tokens=n if schema is None else 256, temperature=sampled[0],
        seed=sampled[1], **rule,
    )  # fmt: skip
    assert not made.lossless
    if schema is None:
        assert made.tokens == test_deferred.slow(
            model, engine.spec, prompt, n, rule["threshold"], rule["initial_window"], rule["max_window"], pick
        )
    else:
        canvas = scaffolded(torch.tensor(prompt), schema, engine.spec.block_size)
        assert made.tokens == on_slow_host(deferred, model, canvas, engine.spec, pick=pick, **rule)


@pytest.mark.parametrize(("strategy", "options"), [("streaming", {"window": 5, "entropy": 2.0}), ("dcd", {"initial_window": 3})])
@pytest.mark.parametrize("section", ["word", "trajectory"])
def test_rollouts_together_are_rollouts_alone(pairs, strategy, options, section) -> None:
    common = {"schema": FORKED, "strategy": strategy, "temperature": 1.0, "fork_at": section, **options}
    for n, (engine, _) in enumerate(pairs[:2]):
        whole = engine.generate([3, n, 7], rollouts=3, seed=10 * n, **common)
        alone = [engine.generate([3, n, 7], rollouts=1, seed=10 * n + k, **common) for k in range(3)]
        assert [b.tokens for b in whole.branches] == [a.branches[0].tokens for a in alone]


def test_streaming_names_what_a_checkpoint_lacks(pairs) -> None:
    with pytest.raises(UnsupportedError, match="draft_shift must be 0 and is 1"):
        pairs[2][0].generate([1], strategy="streaming", max_new_tokens=4)


@pytest.mark.parametrize("kind", ["qwen2", "qwen2_5_vl"])
def test_a_prompt_that_the_host_holds_is_not_computed_again(tmp_path, kind) -> None:
    """Streaming takes the prompt along with its first window, images too; the answer is that behind a prompt encoded before."""
    model = load_model(tiny.save(tiny.build(kind), tmp_path, draft_shift=0), device="cpu", dtype="float64")
    features = model.encode_images(tiny.pictures(2)) if kind == "qwen2_5_vl" else None
    ids = tiny.prompt_with_images(features.counts) if features is not None else torch.tensor(tiny.tokens(9))
    answers, rows = [], []
    for held in (False, True):
        canvas = Canvas.open(ids, 14)
        session = Session(model, ids, features, capacity=len(canvas), check=True)
        for _ in run(prefill(replace(canvas), model.spec), session) if held else ():  # type: ignore[arg-type]
            pass
        canvas.kept = len(session.tape)
        for _ in run(streaming(canvas, model.spec, window=5, entropy=2.0), session):
            pass
        answers.append(canvas.answer().tolist())
        rows.append(session.rows)
    assert answers[0] == answers[1]
    assert rows[0] == rows[1]
    assert len(set(answers[0])) > 1
