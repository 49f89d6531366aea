"""The engine on random weights: strategies agree, counts are counts, bad input gets one clear line."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2Config, Qwen2ForCausalLM

import edge
from decoding.template import Template
from edge.core.errors import CheckpointError, InputError, UnknownNameError, UnsupportedError
from edge.engine import Engine
from tests.decoding.test_exactness import MASK, PAD, STOP, VOCAB, compiled, prompts, templates

CASES = 1000 if os.environ.get("EDGE_CASES") != "small" else 60


def save(folder, seed: int, *, scale: float = 0.3, shift: int = 1, **spec) -> None:
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=48,
        max_position_embeddings=400,
        tie_word_embeddings=False,
    )
    config.block_diffusion = {
        "block_size": 8,
        "mask_token_id": MASK,
        "pad_token_id": PAD,
        "stop_ids": [STOP],
        "position_mode": "rope",
        "draft_shift": shift,
    } | spec
    model = Qwen2ForCausalLM(config)
    g = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=g) * scale + (1.0 if p.dim() == 1 else 0.0)
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def engines(tmp_path_factory) -> list[Engine]:
    """Float64 engines with random weights, sharp and flat, with both label shifts."""
    out = []
    for seed, (scale, shift) in enumerate([(0.1, 1), (0.3, 1), (0.6, 0), (0.3, 0)]):
        folder = tmp_path_factory.mktemp("model")
        save(folder, seed, scale=scale, shift=shift)
        out.append(edge.load(folder, dtype="float64"))
    return out


@settings(max_examples=CASES, deadline=None)
@given(
    which=st.integers(0, 3),
    prompt=prompts,
    block_size=st.integers(2, 32),
    n=st.integers(1, 40),
    template=st.one_of(st.none(), templates),
    temperature=st.sampled_from([0.0, 0.0, 0.7]),
    seed=st.integers(0, 99),
)
def test_lossless_strategies_equal_ar_in_float64(engines, which, prompt, block_size, n, template, temperature, seed) -> None:
    engine = engines[which]
    schema = None if template is None else compiled(template)
    common = {"schema": schema, "max_new_tokens": n if schema is None else 256, "temperature": temperature, "seed": seed}
    slow = engine.generate(prompt, strategy="ar", **common)
    assert slow.lossless
    for strategy, options in (("self-spec", {}), ("fused", {"lagged": False}), ("fused", {}), ("fused", {"branches": 2})):
        fast = engine.generate(prompt, strategy=strategy, block_size=block_size, **options, **common)
        assert fast.tokens == slow.tokens
        assert fast.finish_reason == slow.finish_reason
        assert fast.lossless
        assert MASK not in fast.tokens
        assert (fast.open_tokens, fast.pad_tokens) == (slow.open_tokens, slow.pad_tokens)


def test_counts(engines) -> None:
    g = engines[0].generate([1, 2, 3], strategy="ar", max_new_tokens=7)
    n = len(g.tokens)
    assert g.forwards == n
    assert g.rows == 3 + n - 1
    assert (g.open_tokens, g.pad_tokens) == (n, 0)
    assert g.accepted_per_forward == 1
    assert {"vision", "prefill", "decode", "total"} <= set(g.timings)


def test_the_same_request_twice_gives_the_same_answer(engines) -> None:
    first = engines[1].generate([5, 6], max_new_tokens=20)
    engines[1].generate([9], max_new_tokens=30, strategy="threshold")
    assert engines[1].generate([5, 6], max_new_tokens=20).tokens == first.tokens


def test_threshold_says_that_it_is_lossy(engines) -> None:
    assert not engines[0].generate([1], strategy="threshold", max_new_tokens=5).lossless


NOTED = Template.model_validate(
    {
        "sections": [
            {"name": "word", "parts": [{"kind": "text", "text": "a"}, {"kind": "choice", "options": ["b", "cd"]}]},
            {"name": "note", "parts": [{"kind": "text", "text": "h"}, {"kind": "free", "budget": 40}]},
            {"name": "speed", "parts": [{"kind": "text", "text": "g"}, {"kind": "number", "integer_digits": 2, "decimals": 1}]},
        ]
    }
)

FORKED = compiled(
    Template.model_validate(
        {
            "sections": [
                {"name": "word", "parts": [{"kind": "text", "text": "a"}, {"kind": "choice", "options": ["b", "cd"]}]},
                {
                    "name": "trajectory",
                    "parts": [{"kind": "text", "text": "g"}, *[{"kind": "number", "integer_digits": 2, "decimals": 1}] * 2],
                },
            ]
        }
    )
)


@pytest.mark.parametrize("strategy", ["ar", "self-spec", "fused"])
def test_a_deadline_leaves_out_what_does_not_have_to_be_there(engines, strategy) -> None:
    schema = compiled(NOTED)
    whole = engines[0].generate([1, 2], schema=schema, strategy=strategy, deadline_ms=1e6)
    assert (whole.skipped_sections, whole.finish_reason, whole.lossless) == ((), "stop", True)
    assert whole.tokens == engines[0].generate([1, 2], schema=schema, strategy=strategy).tokens
    cut = engines[0].generate([1, 2], schema=schema, strategy=strategy, deadline_ms=0)
    assert (cut.skipped_sections, cut.finish_reason, cut.lossless) == (("note",), "deadline", False)
    assert torch.equal(schema.fill(schema.values(torch.tensor(cut.tokens))), torch.tensor(cut.tokens))
    assert cut.forwards < whole.forwards or strategy != "ar"


def test_sections_that_are_not_asked_for_are_left_out(engines) -> None:
    schema = compiled(NOTED)
    answers = [engines[0].generate([1, 2], schema=schema, strategy=s, sections=["speed"]) for s in ("ar", "self-spec", "fused")]
    assert all(a.tokens == answers[0].tokens for a in answers)
    assert answers[0].skipped_sections == ("word", "note")
    assert answers[0].lossless
    with pytest.raises(UnknownNameError, match="speed"):
        engines[0].generate([1, 2], schema=schema, sections=["sped"])
    with pytest.raises(InputError, match="schema"):
        engines[0].generate([1, 2], sections=["speed"])


def test_free_text_ends_at_its_deadline(engines) -> None:
    late = engines[0].generate([1, 2], deadline_ms=0, max_new_tokens=30)
    assert (late.tokens, late.finish_reason) == ([], "deadline")
    with pytest.raises(InputError, match="deadline_ms"):
        engines[0].generate([1, 2], deadline_ms=-1)


@pytest.mark.parametrize("section", ["word", "trajectory", None])
@pytest.mark.parametrize(
    ("strategy", "options"), [("ar", {}), ("self-spec", {"block_size": 5}), ("fused", {"block_size": 5, "branches": 1})]
)
def test_rollouts_together_are_rollouts_alone(engines, strategy, options, section) -> None:
    common = {"schema": FORKED, "strategy": strategy, "temperature": 1.0, "fork_at": section, **options}
    for n, engine in enumerate(engines):
        whole = engine.generate([3, n, 7], rollouts=3, seed=10 * n, **common)
        alone = [
            engine.generate([3, n, 7], rollouts=1, seed=10 * n + k, **common | {"fork_at": section or "trajectory"})
            for k in range(3)
        ]
        assert [b.tokens for b in whole.branches] == [a.branches[0].tokens for a in alone]
        assert whole.forwards <= sum(a.forwards for a in alone) - 2, "what comes before the fork is decoded once"
        values = np.array([[float(v) for v in FORKED.values(torch.tensor(b.tokens))[1:]] for b in whole.branches])
        joined = [float(v) for v in FORKED.values(torch.tensor(whole.tokens))[1:]]
        assert joined == pytest.approx(values.mean(axis=0), abs=0.0501)
        assert whole.spread == pytest.approx(values.std(axis=0))
        assert alone[0].spread == (0.0, 0.0)


@pytest.mark.parametrize(("strategy", "options"), [("ar", {}), ("self-spec", {"block_size": 5}), ("fused", {"block_size": 5})])
def test_the_likeliest_rollout(engines, strategy, options) -> None:
    """Its tokens as they were sampled; the log-probabilities that it was chosen by are those that causal decoding tells."""
    common = {"schema": FORKED, "temperature": 1.0, "reducer": "likeliest", "rollouts": 4}
    for n, engine in enumerate(engines):
        chosen = engine.generate([3, n, 7], seed=n, strategy=strategy, **common, **options)
        told = engine.generate([3, n, 7], seed=n, strategy="ar", logprobs=0, **common)
        probable = [sum(t.logprob for t in b.logprobs) for b in told.branches]
        assert len(set(probable)) > 1
        assert chosen.tokens == told.tokens == told.branches[int(np.argmax(probable))].tokens
        assert [b.tokens for b in chosen.branches] == [b.tokens for b in told.branches]
        assert all(b.logprobs is None for b in chosen.branches)
    with pytest.raises(UnsupportedError, match="decides by others"):
        engines[0].generate([3], strategy="threshold", **common)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"strategy": "selfspec"}, UnknownNameError, "did you mean 'self-spec'"),
        ({"strategy": "ar", "blocksize": 3}, UnknownNameError, "option of strategy 'ar' 'blocksize'"),
        ({"block_size": 0}, InputError, "block_size must be a positive integer: got 0"),
        ({"strategy": "threshold", "threshold": 1.5}, InputError, "threshold must be a probability: got 1.5"),
        ({"temperature": -1}, InputError, "temperature must be 0 or more"),
        ({"top_p": 0}, InputError, "top_p in"),
        ({"max_new_tokens": 0}, InputError, "max_new_tokens must be at least 1: got 0"),
        ({"max_new_tokens": 10_000}, InputError, "the model holds 400"),
        ({"schema": {"type": "object", "propertys": {}}}, InputError, "schema /propertys: .propertys. is not supported"),
        ({"schema": 3}, UnsupportedError, "schema must be a JSON schema, a pydantic model class"),
        ({"rollouts": 3}, UnsupportedError, "give a schema"),
        ({"rollouts": 3, "schema": FORKED}, InputError, "need rollouts >= 1 and temperature > 0, got 3 and 0"),
        ({"rollouts": 0, "schema": FORKED, "temperature": 1.0}, InputError, "got 0 and 1.0"),
        (
            {"fork_at": "trajectry", "schema": FORKED, "temperature": 1.0},
            UnknownNameError,
            "unknown section 'trajectry'; did you mean",
        ),
        ({"rollouts": 2, "schema": FORKED, "temperature": 1.0, "reducer": "men"}, UnknownNameError, "did you mean 'mean'"),
        ({"images": ["x.png"]}, UnsupportedError, "image"),
    ],
)
def test_bad_options(engines, kwargs, error, message) -> None:
    with pytest.raises(error, match=message) as e:
        engines[0].generate([1, 2], **kwargs)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("prompt", "message"), [([], "the prompt is empty"), ([99], "token id 99 is outside the vocabulary of 24 ids")]
)
def test_bad_prompts(engines, prompt, message) -> None:
    with pytest.raises(InputError, match=message):
        engines[0].generate(prompt)


def test_text_prompts_need_a_tokenizer(engines) -> None:
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        engines[0].generate([{"role": "user", "content": "hello"}])


def test_checkpoint_without_causal_mode(tmp_path) -> None:
    save(tmp_path, 0, causal_mode=False)
    engine = edge.load(tmp_path)
    with pytest.raises(UnsupportedError, match="has none"):
        engine.generate([1], strategy="self-spec", max_new_tokens=4)
    assert len(engine.generate([1], strategy="threshold", max_new_tokens=4).tokens) >= 1


def test_the_cache_holds_the_drafts_of_every_branch(engines) -> None:
    """Long drafts beside each other take more rows than the answer has."""
    engine = engines[1]
    slow = engine.generate([1, 2, 3], max_new_tokens=150, strategy="ar")
    fast = engine.generate([1, 2, 3], max_new_tokens=150, strategy="fused", block_size=120, branches=6, across=True)
    assert fast.tokens == slow.tokens
    assert fast.rows > 600
    with pytest.raises(InputError, match="branches must be 0 or more: got -1"):
        engine.generate([1, 2, 3], strategy="fused", branches=-1)


def test_scaffold_is_self_speculation_with_a_schema(engines) -> None:
    a, b = (engines[1].generate([3, 1, 7], schema=FORKED, strategy=name) for name in ("scaffold", "self-spec"))
    assert (a.tokens, a.forwards) == (b.tokens, b.forwards)
    with pytest.raises(InputError, match="give a schema"):
        engines[1].generate([3, 1, 7], strategy="scaffold")
