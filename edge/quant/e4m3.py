"""E4M3 (FP8, arXiv 2209.05433): one sign, four exponent and three mantissa bits, largest value 448, no infinity.

A tensor is stored as values in E4M3 times a float32 scale. Rounding moves a value by at most half the distance of its neighbours:
2^-4 of itself where it is normal (down to 2^-6 of the scale), 2^-10 of the scale below. So a scale that is a power of two larger or
smaller changes nothing but what overflows and what falls below 2^-6: unlike with integers, outliers cost the others nothing until
they are 2^14 times as large.
"""

from __future__ import annotations

import torch
from torch import Tensor

DTYPE = torch.float8_e4m3fn
MAX = 448.0
HALF_ULP = 2.0**-4
"""Largest relative error of rounding a normal number."""
LOWEST = -6
"""Exponent of the smallest normal number; below it numbers are 2^-9 apart."""


def scale_for(amax: Tensor) -> Tensor:
    """Scales float32 that map the largest magnitudes `amax` (any shape) to 448; 1 where there is nothing but zeros."""
    scale = (amax.float() / MAX).clamp(min=torch.finfo(torch.float32).tiny)
    return torch.where(amax > 0, scale, torch.ones_like(scale))


def token_scales(x: Tensor) -> Tensor:
    """Dynamic scales of rows [R, in] -> float32 [R, 1]."""
    return scale_for(x.abs().amax(dim=-1, keepdim=True))


def encode(x: Tensor, scale: Tensor) -> Tensor:
    """E4M3 values of x / scale, rounded to nearest even; what is larger than 448 becomes 448, never NaN."""
    wide = x if x.dtype == torch.float64 else x.float()
    return (wide / scale).clamp(-MAX, MAX).to(DTYPE)


def decode(values: Tensor, scale: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The numbers that E4M3 values (in any dtype) with their scale stand for."""
    wide = torch.promote_types(dtype, torch.float32)
    return (values.to(wide) * scale.to(wide)).to(dtype)


def rounded(x: Tensor, scale: Tensor) -> Tensor:
    """x as it is after being stored in E4M3, in its own dtype."""
    return decode(encode(x, scale), scale, x.dtype)


def rounding_bound(x: Tensor, scale: Tensor) -> Tensor:
    """The largest distance of x from `rounded(x, scale)`, element by element: half an ulp, or what is cut off beyond 448."""
    size = x.abs() / scale
    exponent = (torch.frexp(size).exponent - 1).clamp(min=LOWEST)  # size = m * 2^e with m in [1, 2)
    exponent = torch.where(size > 0, exponent, LOWEST)
    half = torch.ldexp(torch.full_like(size, HALF_ULP), exponent)
    return torch.maximum(half, size - MAX) * scale
