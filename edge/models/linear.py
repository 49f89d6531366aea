"""Matrix products for few rows.

On a CPU the weights are packed once into oneDNN's blocked layout, which pays at the row counts of block diffusion. All products
of a 6-layer, 256-wide decoder on two AVX-512 cores, in ms (`F.linear` | plain | packed):

    float32, 1 thread    1 row 2.0 | 1.3 | 1.4     8 rows 3.1 | 2.3 | 1.7     32 rows 5.3 | 4.4 | 3.6
    float32, 2 threads   1 row 1.9 | 1.3 | 1.0     8 rows 1.9 | 1.8 | 1.1     32 rows 4.9 | 4.2 | 2.3
    bfloat16, 1 thread   1 row 1.2 | 1.2 | 0.8     8 rows 1.6 | 1.5 | 1.0     32 rows 2.8 | 2.7 | 2.1

A packed product costs 13 us before it begins, so small float32 ones stay plain (`mm` on the transposed weight). The packing op is
what TorchInductor uses for frozen weights; it is not public, so it is probed, and everything falls back to `F.linear`, as on other
devices and in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

Linear = Callable[[Tensor], Tensor]
"""[R, in] -> [R, out]"""

PACK_ROWS = 32
"""Row count that the packed layout is chosen for; it serves 1 to 64 rows about equally well."""

PLAIN_PRODUCT = 2**19
"""Largest R * in * out that is faster as a plain product in float32."""


def linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """The function x -> x W^T + b for weight [out, in] and bias [out], laid out for the device and dtype it lives in."""
    if weight.device.type != "cpu" or not _packs(weight.dtype):
        weight = weight.contiguous()
        return lambda x: F.linear(x, weight, bias)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), PACK_ROWS)
    product = torch.ops.mkldnn._linear_pointwise.default
    few = PLAIN_PRODUCT // weight.numel() if weight.dtype == torch.float32 else 0
    if few == 0:
        return lambda x: product(x, packed, bias, "none", [], "")
    plain = weight.t().contiguous()  # a second copy, of small matrices only

    def either(x: Tensor) -> Tensor:
        if x.shape[0] > few:
            return product(x, packed, bias, "none", [], "")
        return torch.mm(x, plain) if bias is None else torch.addmm(bias, x, plain)

    return either


@cache
def _packs(dtype: torch.dtype) -> bool:
    """Whether this build and processor pack weights of `dtype`, tried on a small product."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    try:
        x, w = torch.eye(4, 64, dtype=dtype), torch.arange(64.0 * 16).view(16, 64).fmod(7).to(dtype)
        packed = torch.ops.mkldnn._reorder_linear_weight(w, PACK_ROWS)
        y = torch.ops.mkldnn._linear_pointwise.default(x, packed, None, "none", [], "")
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return torch.equal(y, w[:, :4].t())
