"""Packed products agree with `F.linear` at every row count, on both sides of each switch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from edge.models.linear import PLAIN_PRODUCT, linear


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 2, 7, 32, 65, 300])
@pytest.mark.parametrize(("width", "out"), [(48, 80), (256, 512), (704, 1024)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4), (torch.bfloat16, 0.2)])
def test_agrees(dtype: torch.dtype, tolerance: float, width: int, out: int, rows: int, bias: bool) -> None:
    random = torch.Generator().manual_seed(rows)
    w = torch.randn(out, width, generator=random).to(dtype)
    b = torch.randn(out, generator=random).to(dtype) if bias else None
    x = torch.randn(rows, width, generator=random).to(dtype)
    got = linear(w, b)(x)
    assert got.shape == (rows, out)
    assert got.dtype == dtype
    wanted = F.linear(x.double(), w.double(), None if b is None else b.double())
    torch.testing.assert_close(got.double(), wanted, atol=tolerance, rtol=tolerance)


def test_both_sides_of_the_switch_are_tried() -> None:
    assert 1 * 256 * 512 < PLAIN_PRODUCT < 7 * 256 * 512
    assert PLAIN_PRODUCT < 704 * 1024
