"""State dicts: who shares a scale, who is smoothed by whom, and that folding changes nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from edge.core.errors import CheckpointError, InputError
from edge.quant.e4m3 import DTYPE, MAX, decode, rounding_bound
from edge.quant.layout import SCHEMES
from edge.quant.smooth import fold, smoothing
from edge.quant.state import groups, products, quantized, smoothed

Q, K, V, OUT = (f"model.layers.0.self_attn.{n}_proj" for n in "qkvo")
GATE, UP, DOWN = (f"model.layers.0.mlp.{n}_proj" for n in ("gate", "up", "down"))


def state(seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    shapes = {Q: (16, 8), K: (8, 8), V: (8, 8), OUT: (8, 16), GATE: (12, 8), UP: (12, 8), DOWN: (8, 12), "lm_head": (20, 8)}
    out = {n + ".weight": (torch.randn(s, generator=random) * 3**i).to(dtype) for i, (n, s) in enumerate(shapes.items())}
    norms = ("model.layers.0.input_layernorm.weight", "model.layers.0.post_attention_layernorm.weight")
    return out | {n: (torch.rand(8, generator=random) + 0.5).to(dtype) for n in norms}


@pytest.mark.parametrize("layout", SCHEMES)
def test_weights_scales_and_their_bound(layout: str) -> None:
    tensors, scheme = state(), SCHEMES[layout]
    names = products(tensors)
    assert names == sorted([Q, K, V, OUT, GATE, UP, DOWN])
    out = quantized(tensors, names, scheme, dict.fromkeys(names, 5.0) | {K: 7.0})
    assert torch.equal(out["lm_head.weight"], tensors["lm_head.weight"])
    for n in names:
        weight, scale = out[n + ".weight"], out[n + ".weight_scale"]
        assert (weight.dtype, scale.dtype) == (DTYPE, torch.float32)
        assert scale.shape == ((tensors[n + ".weight"].shape[0], 1) if scheme.per_channel else ())
        wanted = tensors[n + ".weight"].float()
        assert bool(((decode(weight, scale) - wanted).abs() <= rounding_bound(wanted, scale) * (1 + 1e-5)).all())
        assert weight.float().abs().max() <= MAX
        assert (n + ".input_scale" in out) == scheme.static_input
    if scheme.static_input:
        assert len({float(out[n + ".weight_scale"]) for n in (Q, K, V)}) == 1
        assert len({float(out[n + ".weight_scale"]) for n in (Q, OUT, GATE, DOWN)}) == 4
        assert {round(float(out[n + ".input_scale"]) * MAX, 4) for n in (Q, K, V)} == {7.0}
        assert max(float(out[n + ".weight"].float().abs().max()) for n in (Q, K, V)) == MAX
    else:
        assert bool((out[Q + ".weight"].float().abs().amax(1) == MAX).all())


def test_a_static_scheme_needs_every_input() -> None:
    tensors = state()
    with pytest.raises(InputError, match="down_proj: its input was not seen"):
        quantized(tensors, products(tensors), SCHEMES["fp8-modelopt"], {n: 1.0 for n in products(tensors) if n != DOWN})


def test_products_of_one_input_stay_together() -> None:
    assert [len(g) for g in groups(products(state()))] == [1, 2, 3, 1]
    with pytest.raises(InputError, match=r"q_proj stays as it is"):
        list(groups([K, V, OUT]))


def test_refusals() -> None:
    tensors = state()
    with pytest.raises(CheckpointError, match="no product"):
        products({"lm_head.weight": torch.ones(2, 2)})
    with pytest.raises(CheckpointError, match="no product"):
        products(tensors, lambda module: True)
    with pytest.raises(CheckpointError, match="FP8 already"):
        products(quantized(tensors, products(tensors), SCHEMES["fp8-compressed"], {}))


@given(st.integers(0, 99), st.floats(0, 1), st.sampled_from([torch.bfloat16, torch.float32]))
def test_folding_is_exact(seed: int, alpha: float, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 8, generator=random).to(dtype)
    norm, spread = (torch.rand(8, generator=random) + 0.5).to(dtype), torch.randn(8, generator=random).mul(3).exp()
    weights = [torch.randn(n, 8, generator=random).to(dtype) for n in (4, 6)]
    by = smoothing((x * norm).abs().amax(0).float() * spread, weights, alpha)
    assert torch.equal(by, by.log2().round().exp2())
    divided, multiplied = fold(norm, weights, by)
    for w, v in zip(weights, multiplied, strict=True):
        assert torch.equal(F.linear(x * divided, v), F.linear(x * norm, w))


def test_smoothing_evens_out_what_the_paper_says() -> None:
    inputs, weight = torch.tensor([64.0, 1.0, 0.0]), torch.tensor([[1.0, 1.0, 1.0], [-1.0, 0.5, 2.0]])
    assert smoothing(inputs, [weight], 0.5).tolist() == [8.0, 1.0, 1.0]
    assert smoothing(inputs, [weight], 1.0).tolist() == [64.0, 1.0, 1.0]


def test_smoothing_a_state_touches_norms_and_what_follows_them() -> None:
    tensors = state()
    channels = {n: torch.arange(1.0, tensors[n + ".weight"].shape[1] + 1) ** 3 for n in products(tensors)}
    out, factors = smoothed(tensors, products(tensors), channels, 0.5)
    assert set(factors) == {Q, K, V, GATE, UP}
    changed = {k for k in tensors if not torch.equal(tensors[k], out[k])}
    assert changed == {n + ".weight" for n in factors} | {k for k in tensors if "layernorm" in k}
    assert torch.equal(out[K + ".weight"] / factors[K], tensors[K + ".weight"])
