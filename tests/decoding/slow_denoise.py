"""The published denoising loops, on the whole sequence at every step: no cache, no canvas. The oracle of `decoding.denoise`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from decoding.scaffold import Scaffold
from edge.core.blockspec import BlockSpec
from tests.decoding.slow_host import TinyTransformer

MASK = 21
SPECS = [
    BlockSpec(block_size=4, mask_token_id=MASK),  # Fast-dVLM
    BlockSpec(block_size=4, mask_token_id=MASK, grid_origin="absolute", prompt="block", commit="block", causal_mode=False),  # v2
    BlockSpec(block_size=4, mask_token_id=MASK, draft_shift=0, prompt="block", commit="block", causal_mode=False),
    BlockSpec(block_size=4, mask_token_id=MASK, draft_shift=0, prompt="causal", commit="causal"),
    BlockSpec(block_size=4, mask_token_id=MASK, draft_shift=0, prompt="full", commit="block", causal_mode=False),
]

SlowRule = Callable[[list[list[float]]], list[int]]
"""Probabilities of the open rows, each a list over the vocabulary, to those of the rows that become final."""


def by_threshold(tau: float) -> SlowRule:
    def rule(p: list[list[float]]) -> list[int]:
        best = [max(q) for q in p]
        return [i for i, c in enumerate(best) if c >= tau] or [best.index(max(best))]

    return rule


def by_factor(f: float) -> SlowRule:
    def rule(p: list[list[float]]) -> list[int]:
        order = sorted(range(len(p)), key=lambda i: -max(p[i]))
        k = 1
        while k < len(p) and max(p[order[k]]) >= 1 - f / (k + 2):
            k += 1
        return order[:k]

    return rule


def by_entropy(gamma: float) -> SlowRule:
    def rule(p: list[list[float]]) -> list[int]:
        h = [-sum(x * math.log(x) for x in q if x > 0) for q in p]
        order = sorted(range(len(p)), key=lambda i: h[i])
        k = 1
        while k < len(p) and sum(h[i] for i in order[: k + 1]) < gamma:
            k += 1
        return order[:k]

    return rule


def by_count(n: int) -> SlowRule:
    return lambda p: sorted(range(len(p)), key=lambda i: -max(p[i]))[:n]


@dataclass
class Slow:
    """A sequence of `x` with `known` rows; those before the first block are seen as the checkpoint's prompt.

    blocks: (start, end) in turn. may: bool [V] for every row, the ids that it can hold.
    """

    model: TinyTransformer
    spec: BlockSpec
    x: list[int]
    known: list[bool]
    blocks: list[tuple[int, int]]
    may: list[Tensor]

    def order_of(self, i: int, live: int) -> int:
        """Position for causal rows, the block's first row otherwise; `live` is the number of the block being denoised."""
        if i < self.blocks[0][0]:
            return {"causal": i, "block": i // self.spec.block_size * self.spec.block_size, "full": 0}[self.spec.prompt]
        k, (start, _) = next((k, b) for k, b in enumerate(self.blocks) if b[0] <= i < b[1])
        return start if k == live or self.spec.commit == "block" else i

    def probabilities(self, row: int, raw: int, upto: int, live: int) -> list[float]:
        """Those of the token at `row`, read from the output of row `raw` when rows before `upto` are fed."""
        orders = torch.tensor([self.order_of(r, live) for r in range(upto)])
        tokens = torch.tensor([t if k else MASK for t, k in zip(self.x[:upto], self.known, strict=False)])
        logits = self.model(tokens, torch.arange(upto), orders[None] <= orders[:, None])[raw]
        logits[MASK] = float("-inf")
        return logits.masked_fill(~self.may[row], float("-inf")).softmax(-1).tolist()

    def take(self, row: int, p: list[float]) -> None:
        self.x[row], self.known[row] = p.index(max(p)), True

    def decode(self, rule: SlowRule, sub_block: int | None, seeded: bool) -> list[int]:
        """seeded: with label shift 1, whether a block's first row is decided by the pass before it."""
        shift = self.spec.draft_shift
        for live, (start, end) in enumerate(self.blocks):
            if shift and seeded and not self.known[start]:
                self.take(start, self.probabilities(start, start - 1, start, live))
            part = sub_block or end - start
            while not all(self.known[start:end]):
                first = next(i for i in range(start, end) if not self.known[i])
                stop = start + ((first - start) // part + 1) * part
                open_ = [i for i in range(first, min(stop, end)) if not self.known[i]]
                p = [self.probabilities(i, i - shift, end, live) for i in open_]
                for k in rule(p):
                    self.take(open_[k], p[k])
        return self.x


def slow_free(model, spec, prompt, n, rule, *, size=None, sub_block=None) -> list[int]:
    """The answer of `n` tokens of free text."""
    p, total = len(prompt), len(prompt) + n
    shared = spec.grid_origin == "absolute" and spec.prompt == "block"  # the end of the prompt shares a block with the answer
    start = p // spec.block_size * spec.block_size if shared else p
    origin, width = (0 if spec.grid_origin == "absolute" else p), size or spec.block_size
    ends = [e for e in range(origin + width, total + width, width) if e > start and e - width < total]
    blocks = list(zip([start, *ends], [min(e, total) for e in ends], strict=False))
    anything = torch.ones(model.vocab, dtype=torch.bool)
    slow = Slow(model, spec, prompt + [MASK] * n, [True] * p + [False] * n, blocks, [anything] * total)
    return slow.decode(rule, sub_block, seeded=True)[p:]


def slow_scaffold(model, spec, prompt, scaffold: Scaffold, rule, size: int, *, sub_block=None, sections=False) -> list[int]:
    """The answer of a scaffold whose open rows do not depend on each other. sections: as section diffusion does it."""
    p, frozen = len(prompt), scaffold.frozen.tolist()
    if sections:
        spec = spec.model_copy(update={"commit": "block"})
    start = p
    if spec.prompt == "causal" and spec.commit == "causal":
        start += frozen.index(False)  # the scaffold's opening goes along with the prompt
    elif spec.grid_origin == "absolute" and spec.prompt == "block":
        start = p // spec.block_size * spec.block_size
    ends = [p + e for e in scaffold.block_ends(size)]
    slow = Slow(
        model,
        spec,
        prompt + scaffold.tokens.tolist(),
        [True] * p + frozen,
        list(zip([start, *ends], ends, strict=False)),
        [torch.ones(model.vocab, dtype=torch.bool)] * p + list(scaffold.static),
    )
    return slow.decode(rule, sub_block, seeded=not sections)[p:]
