"""Views on models of `transformers`: clean rows are what the model itself says, noisy ones what the same mask by hand gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from converters.methods.diffusion_vl import DiffusionVL
from converters.methods.fast_dvlm import FastDvlm
from converters.methods.lavida import LaViDa
from converters.methods.views import View, total
from converters.methods.wedlm import WeDLM
from converters.viewed import losses, prepare
from edge.core.visibility import additive
from tests.converters.methods.toy import MASK, STOP, VOCAB, samples

SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 128,
}
WINDOW = 5
MODELS = {
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SMALL)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SMALL, sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention"] * 2)
    ),
}
METHODS = [
    FastDvlm(mask_token_id=MASK, stop_id=STOP, block_size=4, anneal=False),
    DiffusionVL(mask_token_id=MASK, stop_id=STOP, block_size=4),
    LaViDa(mask_token_id=MASK),
    WeDLM(mask_token_id=MASK, block_size=4),
]


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    made = MODELS[request.param]().double().eval()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return made


def by_hand(model, view: View) -> torch.Tensor:
    """By the model's own attention, with the masks written out for each kind of layer."""
    model.set_attn_implementation("sdpa")
    near = view.source[:, None] - view.source[None] < WINDOW
    kinds = {"full_attention": view.seen(), "sliding_attention": view.seen() & near}
    masks = {k: additive(m, torch.float64)[None, None] for k, m in kinds.items()}
    given = masks if hasattr(model.config, "layer_types") else masks["full_attention"]
    logits = model(input_ids=view.tokens[None], position_ids=view.source[None], attention_mask=given, use_cache=False).logits[0]
    return F.cross_entropy(logits[view.at], view.label, reduction="none")


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_views_are_seen_as_they_say(model, method) -> None:
    for seed in range(3):
        views = method.views(samples(seed, 3), np.random.default_rng(seed))
        prepare(model)
        found = losses(model, views)  # of unequal lengths, together
        loss = total(found, views)
        grads = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        wanted = [by_hand(model, v) for v in views]
        for a, b in zip(found, wanted, strict=True):
            assert torch.allclose(a, b, atol=1e-10)
        slow = torch.autograd.grad(total(wanted, views), list(model.parameters()), allow_unused=True)
        for a, b in zip(grads, slow, strict=True):
            assert (a is None and b is None) or torch.allclose(a, b, rtol=1e-5, atol=1e-7)  # norms work in float32


def test_clean_rows_are_the_model_itself(model) -> None:
    """Whatever is masked beside them: a converted model goes on being the causal one that it was."""
    (sample,) = samples(4, 1)
    told = sample.answer.nonzero().flatten()
    model.set_attn_implementation("sdpa")
    logits = model(input_ids=sample.ids[None], use_cache=False).logits[0]
    wanted = F.cross_entropy(logits[told - 1], sample.ids[told], reduction="none")
    prepare(model)
    for seed in range(3):
        view = FastDvlm(mask_token_id=MASK, stop_id=STOP, block_size=4).views([sample], np.random.default_rng(seed))[0]
        assert torch.allclose(losses(model, [view])[0][-len(told) :], wanted, atol=1e-10)


def test_training_on_views_learns(model) -> None:
    prepare(model)
    given = samples(5, 2)
    method = FastDvlm(mask_token_id=MASK, stop_id=STOP, block_size=4, anneal=False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    seen = []
    for step in range(20):
        views = method.views(given, np.random.default_rng(step))
        loss = total(losses(model, views), views)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(loss.item())
    assert np.mean(seen[-5:]) < 0.8 * np.mean(seen[:5])
