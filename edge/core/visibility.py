"""One rule decides attention: row q sees row k exactly when

    order[k] <= order[q]   and   ancestor[branch[q], branch[k]]

Branches form a forest and a branch is its own ancestor. Causal, bidirectional block, block-causal prefill, full attention,
forked rollouts, packed samples and the noisy|clean training layouts are all choices of `order` and `branch`; nothing else
masks, except a layer's own sliding window. Shapes: `R_q` query rows, `R_k` key rows, `N` branches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

DEAD_ORDER = 2**31 - 1
"""Order of a storage slot that holds nothing: larger than any row's, so no row sees it."""

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def forest(parents: Sequence[int], device: torch.device | str | None = None) -> Tensor:
    """Ancestor matrix of a forest: bool [N, N], `[b, a]` true when a is b or above b.

    `parents[b]` is the parent of branch b, or -1 for a root. A parent comes before its children, so a cycle cannot be written.
    Raises ValueError on a parent that is not an earlier branch.
    """
    n = len(parents)
    ancestor = torch.eye(n, dtype=torch.bool)
    for b, parent in enumerate(parents):
        if not -1 <= parent < b:
            raise ValueError(f"parent of branch {b} must be -1 or an earlier branch: got {parent}; list parents first")
        if parent >= 0:
            ancestor[b] |= ancestor[parent]
    return ancestor.to(device) if device is not None else ancestor


def visible(order_q: Tensor, branch_q: Tensor, order_k: Tensor, branch_k: Tensor, ancestor: Tensor) -> Tensor:
    """Dense form: bool [R_q, R_k] (or [..., R_q, R_k] for batched orders and branches with one shared forest)."""
    in_time = order_k.unsqueeze(-2) <= order_q.unsqueeze(-1)
    in_line = ancestor[branch_q.unsqueeze(-1), branch_k.unsqueeze(-2)]
    return in_time & in_line


def flex_mask_mod(order_q: Tensor, branch_q: Tensor, order_k: Tensor, branch_k: Tensor, ancestor: Tensor) -> MaskMod:
    """FlexAttention form of `visible`: a `mask_mod(b, h, q, k)` for `torch.nn.attention.flex_attention.create_block_mask`.

    All row tensors are one-dimensional, as in the dense form without batch.
    """

    def mask_mod(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (order_k[k] <= order_q[q]) & ancestor[branch_q[q], branch_k[k]]

    return mask_mod


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A bool mask as the number added to attention scores: 0 where visible, the most negative finite number elsewhere."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)
