"""The pure rules under the strategies: pick a token, accept a prefix, commit by confidence. Functions of tensors.

Shapes: `n` predictions, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Pick = Callable[[Tensor, Tensor], Tensor]
"""(logits [n, V], positions [n]) -> ids [n]; disallowed ids are -inf."""


def greedy(logits: Tensor, positions: Tensor) -> Tensor:
    """The most probable id of each row: int64 [n]. positions are ignored."""
    return logits.argmax(dim=-1)


def sampler(temperature: float, top_p: float, seed: int) -> Pick:
    """Sampling by inverse CDF with one uniform number per (seed, position), so that who samples first does not matter.

    A draft and its verification that use the same number agree whenever their distributions nearly do, and the verified text
    equals that of a sampled `ar` of the same seed. temperature 0 is greedy.
    """
    if temperature == 0:
        return greedy

    def pick(logits: Tensor, positions: Tensor) -> Tensor:
        p = (logits.double() / temperature).softmax(dim=-1)
        if top_p < 1:
            p = _nucleus(p, top_p)
        cdf = p.cumsum(dim=-1)
        u = torch.tensor([uniform(seed, int(i)) for i in positions], dtype=cdf.dtype, device=cdf.device)
        # scaled by the total so that rounding can never push u past the last id with probability
        return (cdf <= (u * cdf[:, -1]).unsqueeze(-1)).sum(dim=-1)

    return pick


def _nucleus(p: Tensor, top_p: float) -> Tensor:
    """Zero outside the smallest set of most probable ids whose mass reaches `top_p`."""
    sorted_p, ids = p.sort(dim=-1, descending=True, stable=True)
    outside = sorted_p.cumsum(dim=-1) - sorted_p >= top_p
    return torch.zeros_like(p).scatter(-1, ids, sorted_p.masked_fill(outside, 0.0))


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that depends on its two arguments alone (SplitMix64 of both)."""
    mask = 2**64 - 1
    z = (seed * 0x9E3779B97F4A7C15 + (position + 1) * 0xD1B54A32D192ED03) & mask
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = ((z ^ (z >> shift)) * factor) & mask
    return (z ^ (z >> 31)) / 2**64


def restrict(logits: Tensor, ids: Sequence[Tensor] | None) -> Tensor:
    """Logits [n, V] with -inf everywhere but at row i's allowed `ids[i]` (int64 [k])."""
    if ids is None:
        return logits
    out = torch.full_like(logits, float("-inf"))
    for n, allowed in enumerate(ids):
        out[n, allowed] = logits[n, allowed]
    return out


def accepted(draft: Tensor, target: Tensor) -> int:
    """Length of the common prefix of two int64 [n]."""
    wrong = (draft != target).nonzero()
    return int(wrong[0]) if wrong.numel() else draft.shape[0]


def commit(confidence: Tensor, threshold: float) -> Tensor:
    """Rows that become final in one denoising step: all at or above `threshold`, and always the most confident one.

    confidence: float [n], n >= 1. Returns indices int64 [m], most confident first (Fast-dLLM, confidence-aware parallel decoding).
    """
    order = confidence.argsort(descending=True, stable=True)
    n = max(1, int((confidence >= threshold).sum()))
    return order[:n]
