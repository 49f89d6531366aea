"""Attention by chunks against the fused kernel of torch with the dense mask."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from converters.attention import attend, even_cuts, plan


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("cuts", [[11], [4, 8, 11], list(range(1, 12))])
def test_equals_the_dense_form(cuts: list[int], batched: bool) -> None:
    """Output and all three gradients, on random masks, grouped heads and keys with gaps."""
    g = torch.Generator().manual_seed(0)
    b, rows, heads, kv, size = 3, 11, 4, 2, 8
    seen = torch.rand(b if batched else 1, rows, rows, generator=g) < 0.4
    seen[:, :, 5] = False
    seen |= torch.eye(rows, dtype=torch.bool)
    q, k, v = (torch.randn(b, rows, h, size, generator=g).double().requires_grad_() for h in (heads, kv, kv))
    out = attend(q, k, v, plan(seen, cuts, torch.float64))
    weight = torch.randn(out.shape, generator=g).double()
    (out * weight).sum().backward()
    grads = [t.grad.clone() for t in (q, k, v) if t.grad is not None]
    for t in (q, k, v):
        t.grad = None
    dense = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), seen[:, None], scale=1.0, enable_gqa=True
    )
    dense = dense.transpose(1, 2).reshape(b, rows, -1)
    torch.testing.assert_close(out, dense)
    (dense * weight).sum().backward()
    for ours, t in zip(grads, (q, k, v), strict=True):
        torch.testing.assert_close(ours, t.grad)


@pytest.mark.parametrize(("rows", "size"), [(1, 100), (100, 100), (101, 100), (350, 100)])
def test_even_cuts(rows: int, size: int) -> None:
    cuts = even_cuts(rows, size)
    widths = torch.tensor([0, *cuts]).diff()
    assert cuts[-1] == rows
    assert int(widths.max()) <= size
    assert int(widths.max() - widths.min()) <= 1
