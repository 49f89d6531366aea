"""FP8 products: how a quantized matrix of a checkpoint is run on the device at hand.

    a GPU with FP8 units (capability 8.9 and above)   torch._scaled_mm: both sides in E4M3, sums in float32
    a CPU                                             the same numbers, emulated: E4M3 values are exact in any wider dtype, so the
                                                      ordinary product of the values, times both scales, is what the GPU computes
    any other GPU (Orin)                              weights dequantized once, activations untouched (W8A16)

Shapes: `R` rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from edge.models.linear import Linear, linear
from edge.models.loading import Weights
from edge.quant.e4m3 import DTYPE, decode, encode, token_scales

Precision = Literal["w8a8", "emulated", "w8a16"]
FP8_CAPABILITY = (8, 9)
ALIGNED = 16
"""Sizes that torch._scaled_mm takes are multiples of this."""
log = logging.getLogger(__name__)


class Matrix(NamedTuple):
    """A stored weight. values: [out, in]; scale: float32 [out], or None where the weight is not quantized; input_scale: float32 [1]
    for a calibrated input, None for one scale per token."""

    values: Tensor
    scale: Tensor | None = None
    input_scale: Tensor | None = None

    def rows(self, arrange: Callable[[Tensor], Tensor]) -> Matrix:
        """With the output rows rearranged."""
        return self._replace(values=arrange(self.values), scale=None if self.scale is None else arrange(self.scale))


def take(weights: Weights, module: str, out: int, width: int) -> Matrix:
    """A matrix of a checkpoint; misfits are reported by `weights.close()`."""
    scheme = weights.scheme if weights.is_fp8(module + ".weight") else None
    values = weights.take(module + ".weight", out, width)
    if scheme is None:
        return Matrix(values)
    scale = weights.scales(module + ".weight_scale", out)
    return Matrix(values, scale, weights.scales(module + ".input_scale", 1) if scheme.static_input else None)


def stacked(parts: Sequence[Matrix]) -> Matrix:
    """Matrices of one input as one. All are quantized or none is; inputs that were calibrated apart take the larger scale."""
    values, scales, inputs = zip(*parts, strict=True)
    if any(s is None for s in scales):  # a plain one among them: all are run plain
        return Matrix(torch.cat([_plain(p) for p in parts]))
    shared = None if inputs[0] is None else torch.stack(inputs).amax(dim=0)
    return Matrix(torch.cat(values), torch.cat(scales), shared)


def product(matrix: Matrix, bias: Tensor | None, device: torch.device) -> Linear:
    """The function x [R, in] -> [R, out], laid out for the device."""
    if matrix.scale is None:
        return linear(matrix.values.to(device), bias)
    how = precision(device)
    if how == "w8a8" and all(n % ALIGNED == 0 for n in matrix.values.shape):
        return scaled_mm(matrix, bias, device)
    if how == "emulated":
        return emulated(matrix, bias, device)
    return linear(_plain(matrix).to(device), bias)


def precision(device: torch.device) -> Precision:
    """What the device can do; nobody asks for it."""
    if device.type == "cpu":
        return "emulated"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= FP8_CAPABILITY:
        return "w8a8"
    return "w8a16"


def announce(device: torch.device) -> None:
    """One line where FP8 weights do not run in FP8."""
    if precision(device) == "w8a16":
        log.warning("edge: %s has no FP8 units: weights are dequantized, activations stay as they are (W8A16)", device)


def emulated(matrix: Matrix, bias: Tensor | None, device: torch.device) -> Linear:
    """The slow twin of `scaled_mm`: E4M3 values in the compute dtype, both scales on the result."""
    assert matrix.scale is not None
    run = linear(matrix.values.to(device))
    scale, shared = matrix.scale.to(device), None if matrix.input_scale is None else matrix.input_scale.to(device)

    def apply(x: Tensor) -> Tensor:
        size = token_scales(x) if shared is None else shared
        y = (run(encode(x, size).to(x.dtype)) * size * scale).to(x.dtype)
        return y if bias is None else y.add_(bias)

    return apply


def scaled_mm(matrix: Matrix, bias: Tensor | None, device: torch.device) -> Linear:
    """On FP8 units. One scale on either side is the tensor-wise mode, anything else the row-wise one; both give bfloat16."""
    assert matrix.scale is not None
    values = matrix.values.to(device).to(DTYPE).t()  # [in, out] in column order, as the kernel wants it
    scale, shared = matrix.scale.to(device), None if matrix.input_scale is None else matrix.input_scale.to(device)
    tensorwise = shared is not None and bool((matrix.scale == matrix.scale[0]).all())
    multiply: Any = torch._scaled_mm  # pyright: ignore[reportPrivateImportUsage]
    by_column = scale[:1].reshape(()) if tensorwise else scale[None].contiguous()

    def apply(x: Tensor) -> Tensor:
        size = token_scales(x) if shared is None else shared
        by_row = size.reshape(()) if tensorwise else size.expand(x.shape[0], 1).contiguous()
        y = multiply(encode(x, size), values, scale_a=by_row, scale_b=by_column, out_dtype=torch.bfloat16).to(x.dtype)
        return y if bias is None else y.add_(bias)

    return apply


def _plain(matrix: Matrix) -> Tensor:
    return matrix.values if matrix.scale is None else decode(matrix.values, matrix.scale[:, None], matrix.values.dtype)
