"""What both denoisers are made of. Shapes: see `denoiser`; `h` heads, `D` = E / h, `R` rows."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def wave(times: Tensor, size: int) -> Tensor:
    """Sinusoidal embedding of times [...], [..., size]: sines, then cosines."""
    half = size // 2
    rates = torch.exp(torch.arange(half, device=times.device) * (-math.log(10000) / (half - 1)))
    angles = times[..., None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def split(x: Tensor, size: int) -> Tensor:
    """[..., R, n E] -> [..., n h, R, D]: heads of D = `size` each, of queries, then of keys, then of values."""
    return x.unflatten(-1, (-1, size)).transpose(-2, -3)


def attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """[..., h, R, D] -> [..., R, E]. mask: bool [R, rows of k], True where a row sees another."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout).transpose(-2, -3).flatten(-2)


def initial(module: nn.Module) -> None:
    """Weights of N(0, 0.02), biases of zero, as in the reference."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
