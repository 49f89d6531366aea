"""FP8 checkpoints in `transformers` modules: weights dequantized once, inputs of the products rounded by hooks.

Nothing of it is shared with the lean decoder's products but the rounding itself, so it is their slow twin; and it runs FP8
checkpoints of architectures that the lean decoder does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from edge.models.fp8 import announce, precision
from edge.quant.e4m3 import DTYPE, decode, rounded, token_scales

PREFIXES = ("model.language_model.", "language_model.model.", "language_model.", "model.")


def bare(name: str) -> str:
    """A name without the prefix of the text part, which depends on who wrote it."""
    return next((name.removeprefix(p) for p in PREFIXES if name.startswith(p)), name)


def dequantized(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with FP8 weights as the numbers that they stand for, in float64 (exact), and without scales."""
    out = {}
    for key, tensor in tensors.items():
        if key.endswith(("_proj.weight_scale", "_proj.input_scale")):
            continue
        scale = tensors.get(f"{key}_scale")
        out[key] = decode(tensor, scale, torch.float64) if tensor.dtype == DTYPE and scale is not None else tensor
    return out


def round_inputs(model: Any, tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Let every quantized product of `model` see its input as E4M3 holds it, unless the device runs W8A16."""
    announce(device)
    if precision(device) == "w8a16":
        return
    scales = {
        bare(key.removesuffix(".weight")): tensors.get(key.removesuffix("weight") + "input_scale")
        for key, tensor in tensors.items()
        if tensor.dtype == DTYPE
    }
    shared = {name: None if scale is None else scale.float().to(device) for name, scale in scales.items()}
    for name, module in model.named_modules():
        if bare(name) in shared:
            module.register_forward_pre_hook(_rounding(shared[bare(name)]))


def _rounding(scale: Tensor | None) -> Callable[[Any, tuple[Tensor, ...]], tuple[Tensor]]:
    def hook(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        x = inputs[0]
        return (rounded(x, token_scales(x) if scale is None else scale),)

    return hook
