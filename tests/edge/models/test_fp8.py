"""FP8 products: the emulation, the kernel's path (torch has one for the CPU too) and plain arithmetic agree."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edge.models import fp8
from edge.models.fp8 import Matrix, emulated, precision, product, scaled_mm, stacked
from edge.quant.e4m3 import decode, encode, rounded, scale_for, token_scales

CPU = torch.device("cpu")
SIZES = st.sampled_from([16, 32, 48, 256])


def matrix(out: int, width: int, *, per_channel: bool, static: bool, dtype: torch.dtype = torch.float32, seed: int = 0) -> Matrix:
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(out, width, generator=random) * torch.rand(out, 1, generator=random)
    size = weight.abs().amax(dim=1) if per_channel else weight.abs().max().expand(out)
    scale = scale_for(size)
    return Matrix(encode(weight, scale[:, None]).to(dtype), scale, torch.tensor([0.01]) if static else None)


def slowly(m: Matrix, x: Tensor, bias: Tensor | None) -> Tensor:
    """In float64: the numbers that both sides stand for, multiplied."""
    assert m.scale is not None
    scale = token_scales(x) if m.input_scale is None else m.input_scale
    y = rounded(x.double(), scale) @ decode(m.values, m.scale[:, None], torch.float64).T
    return y if bias is None else y + bias


@settings(deadline=None)
@given(st.integers(1, 40), SIZES, SIZES, st.booleans(), st.booleans(), st.booleans(), st.integers(0, 9))
def test_emulation_kernel_and_arithmetic_agree(
    rows: int, out: int, width: int, per_channel: bool, static: bool, biased: bool, seed: int
) -> None:
    m = matrix(out, width, per_channel=per_channel, static=static, seed=seed)
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=random) * torch.randn(rows, 1, generator=random).exp()
    bias = torch.randn(out, generator=random) if biased else None
    wanted = slowly(m, x, bias)
    size = float(wanted.abs().max())
    assert float((emulated(m, bias, CPU)(x) - wanted).abs().max()) < 1e-5 * size
    assert float((scaled_mm(m, bias, CPU)(x) - wanted).abs().max()) < 2.0**-8 * size  # its result is bfloat16


def test_emulation_in_other_dtypes() -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.bfloat16, 2.0**-7)):
        m = matrix(32, 64, per_channel=True, static=False, dtype=dtype)
        x = torch.randn(7, 64, generator=torch.Generator().manual_seed(1)).to(dtype)
        got, wanted = emulated(m, None, CPU)(x), slowly(m, x, None)
        assert got.dtype == dtype
        assert float((got.double() - wanted).abs().max()) < tolerance * float(wanted.abs().max())


def test_a_row_does_not_depend_on_the_others() -> None:
    run, x = emulated(matrix(32, 64, per_channel=True, static=False), None, CPU), torch.randn(9, 64)
    assert torch.allclose(run(x)[3:4], run(x[3:4]), atol=1e-6)


def test_stacked_is_the_parts_side_by_side() -> None:
    parts = [matrix(16, 32, per_channel=True, static=False, seed=s) for s in range(3)]
    x = torch.randn(4, 32)
    side = torch.cat([emulated(p, None, CPU)(x) for p in parts], dim=1)
    assert torch.allclose(emulated(stacked(parts), None, CPU)(x), side, atol=1e-5)


def test_stacked_inputs_take_the_larger_scale_and_mixed_parts_run_plain() -> None:
    a, b = (matrix(16, 32, per_channel=False, static=True, seed=s) for s in range(2))
    joined = stacked([a, b._replace(input_scale=torch.tensor([0.5]))])
    assert joined.input_scale is not None
    assert joined.input_scale.tolist() == [0.5]
    mixed = stacked([a, Matrix(torch.ones(4, 32))])
    assert mixed.scale is None
    assert torch.equal(mixed.values[16:], torch.ones(4, 32))


@pytest.mark.parametrize(
    ("device", "capability", "wanted"), [("cuda", (8, 9), "w8a8"), ("cuda", (8, 7), "w8a16"), ("cpu", None, "emulated")]
)
def test_precision_is_what_the_device_can_do(monkeypatch, caplog, device: str, capability, wanted: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: capability)
    assert precision(torch.device(device)) == wanted
    with caplog.at_level(logging.WARNING):
        fp8.announce(torch.device(device))
    assert len(caplog.records) == (wanted == "w8a16")


def test_without_fp8_units_only_the_weights_are_rounded(monkeypatch) -> None:
    monkeypatch.setattr(fp8, "precision", lambda device: "w8a16")
    m, x = matrix(32, 48, per_channel=True, static=False), torch.randn(3, 48)
    assert m.scale is not None
    assert torch.allclose(product(m, None, CPU)(x), x @ decode(m.values, m.scale[:, None]).T, atol=1e-5)


def test_sizes_that_the_kernel_does_not_take_run_dequantized(monkeypatch) -> None:
    monkeypatch.setattr(fp8, "precision", lambda device: "w8a8")
    m, x = matrix(24, 40, per_channel=True, static=False), torch.randn(3, 40)
    assert m.scale is not None
    assert torch.allclose(product(m, None, CPU)(x), x @ decode(m.values, m.scale[:, None]).T, atol=1e-5)


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < fp8.FP8_CAPABILITY,
    reason="NO FP8 GPU HERE: torch._scaled_mm was run on the CPU only",
)
@pytest.mark.parametrize("rows", [1, 17, 200])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("static", [False, True])
def test_on_a_gpu(rows: int, per_channel: bool, static: bool) -> None:
    m = matrix(256, 512, per_channel=per_channel, static=static)
    x = torch.randn(rows, 512)
    got, wanted = product(m, None, torch.device("cuda"))(x.cuda().bfloat16()), slowly(m, x.bfloat16().float(), None)
    assert float((got.cpu().double() - wanted).abs().max()) < 2.0**-7 * float(wanted.abs().max())
