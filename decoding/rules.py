"""The pure rules under the strategies: pick a token, accept a prefix, commit the certain rows. Functions of tensors.

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


CommitRule = Callable[[Tensor, Tensor], Tensor]
"""(probabilities [n, V], picked ids [n]) -> rows to make final in one denoising pass: indices int64 [m], 1 <= m <= n, each once,
most certain first. n >= 1. A row whose prediction is NaN comes last, and ties go to the left, so every rule makes progress."""


def confidence(probabilities: Tensor, ids: Tensor) -> Tensor:
    """What each row gives its picked id: float [n] from probabilities [n, V] and ids int64 [n]."""
    return probabilities.gather(1, ids[:, None]).flatten()


def entropy(probabilities: Tensor) -> Tensor:
    """Shannon entropy of each row in nats: float [n] from probabilities [n, V]."""
    return torch.special.entr(probabilities).sum(dim=-1)


def commit(confidence: Tensor, threshold: float) -> Tensor:
    """Rows that become final in one denoising step: all at or above `threshold`, and always the most confident one.

    confidence: float [n], n >= 1. Returns indices int64 [m], most confident first (Fast-dLLM, confidence-aware parallel decoding).
    """
    return _descending(confidence)[: max(1, int((confidence >= threshold).sum()))]


def commit_factor(confidence: Tensor, factor: float) -> Tensor:
    """The longest run of most confident rows in which the k-th has at least 1 - factor / (k + 1), and always the first.

    confidence: float [n], n >= 1. Returns indices int64 [m], most confident first (Fast-dLLM, arXiv 2505.22618, factor-based
    parallel decoding: the more rows at once, the surer each has to be).
    """
    order = _descending(confidence)
    bound = 1 - factor / torch.arange(2, order.shape[0] + 2, dtype=torch.float64, device=order.device)
    return order[: max(1, _run(confidence[order] >= bound))]


def commit_entropy(entropy: Tensor, bound: float) -> Tensor:
    """The rows of least entropy while their sum stays below `bound`, and always the first.

    entropy: float [n], in nats, n >= 1. Returns indices int64 [m], least entropy first (EB-Sampler, arXiv 2505.24857: the sum
    bounds what is lost by drawing rows that depend on each other as if they did not).
    """
    order = _descending(-entropy)
    return order[: max(1, _run(entropy[order].cumsum(0) < bound))]


def commit_best(confidence: Tensor, count: int) -> Tensor:
    """The `count` most confident rows, or all: confidence float [n], n >= 1; indices int64 [m], most confident first."""
    return _descending(confidence)[: max(1, count)]


def _descending(score: Tensor) -> Tensor:
    """Indices int64 [n] from the highest score to the lowest, ties from left to right, NaN last."""
    return score.masked_fill(score.isnan(), float("-inf")).argsort(descending=True, stable=True)


def _run(holds: Tensor) -> int:
    """How many of bool [n] hold before the first that does not."""
    return int(holds.long().cumprod(0).sum())
