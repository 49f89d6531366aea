"""SmoothQuant (arXiv 2211.10438, equation 4) with scales that are powers of two, so that folding them is exact.

s_j = max|X_j|^alpha / max|W_j|^(1 - alpha) moves the range of channel j from the activations into the weights: the norm before them
is divided by s, the weights' columns are multiplied. The paper's scales are made for integers. In E4M3 a channel that is scaled by
a power of two is rounded to the same digits, so all that smoothing can mend is what lies below 2^-6 of a tensor's scale; and any
other factor only draws new rounding errors of the same size. Rounding s to a power of two therefore gives up nothing, and keeps
the folded model equal to the original one bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def smoothing(inputs: Tensor, weights: Sequence[Tensor], alpha: float) -> Tensor:
    """Factors [in], powers of two, for products that share their input.

    inputs: [in], largest magnitude of each channel; weights: each [out, in]. A channel that is never used keeps factor 1.
    """
    columns = torch.stack([w.abs().amax(dim=0).float() for w in weights]).amax(dim=0)
    wanted = inputs.float().pow(alpha) / columns.pow(1 - alpha)
    usable = (inputs > 0) & (columns > 0)
    return torch.where(usable, wanted, torch.ones_like(wanted)).log2().round().exp2()


def fold(norm: Tensor, weights: Sequence[Tensor], factors: Tensor) -> tuple[Tensor, list[Tensor]]:
    """(norm / factors [in], weights * factors [out, in]) in their own dtypes; exact for powers of two within range."""
    return (norm / factors.to(norm.dtype)), [w * factors.to(w.dtype) for w in weights]
