"""A state dict in, the FP8 one out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from edge.core.errors import CheckpointError, InputError
from edge.quant.e4m3 import DTYPE, encode, scale_for
from edge.quant.layout import Scheme, quantizes
from edge.quant.smooth import fold, smoothing

SHARED = (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("mlp.gate_proj", "mlp.up_proj"))
"""Products of one input, which readers run as one: with one scale per tensor they get the same, or each reader would make it so."""
NORMS = {"self_attn.q_proj": "input_layernorm", "mlp.gate_proj": "post_attention_layernorm"}
"""The norm before each group."""


def products(tensors: Mapping[str, Tensor], keep: Callable[[str], bool] = lambda module: False) -> list[str]:
    """Names of the modules to quantize, sorted. keep: those to leave alone. Raises CheckpointError when none is left, or when
    the weights are FP8 already."""
    names = sorted(k.removesuffix(".weight") for k in tensors if k.endswith(".weight") and quantizes(k.removesuffix(".weight")))
    done = next((n for n in names if tensors[n + ".weight"].dtype == DTYPE), None)
    if done is not None:
        raise CheckpointError(f"{done}.weight is FP8 already; quantize the original checkpoint")
    chosen = [n for n in names if not keep(n)]
    if not chosen:
        raise CheckpointError("no product of a text decoder (layers.N.self_attn.q_proj ...) is left to quantize")
    return chosen


def groups(names: list[str]) -> Iterator[list[str]]:
    """The modules, those with a common input together.

    Raises InputError where only some of such a group are named: readers run them as one product.
    """
    left = set(names)
    for name in names:
        if name not in left:
            continue
        heads = next((g for g in SHARED if name.endswith(g)), (name,))
        ending = next((e for e in heads if name.endswith(e)), name)
        base = name.removesuffix(ending)
        group = [base + e for e in heads]
        missing = [g for g in group if g not in left]
        if missing:
            raise InputError(
                f"{missing[0]} stays as it is and {name} does not: products of one input are run as one, keep all of them"
            )
        left.difference_update(group)
        yield group


def smoothed(
    tensors: Mapping[str, Tensor], names: list[str], channels: Mapping[str, Tensor], alpha: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state dict with SmoothQuant folded in, equal in effect; and by module what its input [in] was divided by.

    channels: by module, the largest magnitude [in] of its input.
    """
    out, factors = dict(tensors), {}
    for group in groups(names):
        ending = next((e for e in NORMS if group[0].endswith(e)), None)
        if ending is None:
            continue
        norm = group[0].removesuffix(ending) + NORMS[ending] + ".weight"
        weights = [out[n + ".weight"] for n in group]
        by = smoothing(channels[group[0]], weights, alpha)
        out[norm], folded = fold(out[norm], weights, by)
        out.update(zip([n + ".weight" for n in group], folded, strict=True))
        factors.update(dict.fromkeys(group, by))
    return out, factors


def quantized(tensors: Mapping[str, Tensor], names: list[str], scheme: Scheme, inputs: Mapping[str, float]) -> dict[str, Tensor]:
    """The state dict with `weight` of the modules in E4M3 and `weight_scale` (and `input_scale`) float32 beside it.

    inputs: by module, the magnitude of its input that becomes 448; needed by a static scheme alone. Raises InputError for a module
    whose input was never seen.
    """
    out = dict(tensors)
    for group in groups(names):
        weights = [tensors[n + ".weight"] for n in group]
        if scheme.per_channel:
            scales = [scale_for(w.abs().amax(dim=1, keepdim=True)) for w in weights]
        else:
            scales = [scale_for(torch.stack([w.abs().max() for w in weights]).max())] * len(group)
        for name, weight, scale in zip(group, weights, scales, strict=True):
            out[name + ".weight"] = encode(weight, scale)
            out[name + ".weight_scale"] = scale.clone()
            if scheme.static_input:
                out[name + ".input_scale"] = _input_scale(group, inputs)
    return out


def _input_scale(group: list[str], inputs: Mapping[str, float]) -> Tensor:
    found = [inputs[n] for n in group if n in inputs]
    if not found:
        raise InputError(f"{group[0]}: its input was not seen in calibration; give calibration data that reaches it")
    return scale_for(torch.tensor(max(found), dtype=torch.float32))
