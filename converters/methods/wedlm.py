"""WeDLM (arXiv 2512.22737): strictly causal attention; inside a block what is observed stands before what is masked.

    per block g ~ U, exactly round(n g) tokens masked | a noisy block's rows are reordered, observed first, at their own
    positions; they see the clean rows of earlier blocks and the noisy ones before them | loss: sum CE / g by sum 1 / g, no shift,
    plus the autoregressive mean over the clean rows

A block's rows have an order range of twice its length: noisy ones first, clean ones after.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from converters.methods.noise import exact
from converters.methods.views import Rows, Sample, View, answer_blocks, asked, extended, next_tokens, weighed
from edge.core.config import Frozen
from edge.core.types import TRUNK
from edge.core.visibility import forest

LEAST_SHARE = 1e-8


class WeDLM(Frozen):
    mask_token_id: int
    block_size: int = 32
    clean_weight: float = 1.0

    def views(self, samples: Sequence[Sample], rng: np.random.Generator, progress: float = 1.0) -> list[View]:
        out: list[View] = []
        clean: list[tuple[Tensor, Tensor]] = []
        for sample in samples:
            block = answer_blocks(sample.answer, self.block_size)
            g = np.maximum(rng.random(int(block[-1]) + 1), LEAST_SHARE)
            hidden = exact(block, g, sample.answer, rng)
            rows = reordered(block, hidden)
            view, which = asked(rows, sample, hidden, self.mask_token_id, shift=0)
            out.append(weighed(view, 1 / torch.from_numpy(g)[block[which]]))
            clean.append(next_tokens(rows, sample))
        scale = sum(float(v.weight.sum()) for v in out)
        told = max(sum(len(at) for at, _ in clean), 1)
        out = [weighed(v, v.weight / scale if scale else v.weight) for v in out]
        return [
            extended(v, at, s.ids[which], self.clean_weight / told) for v, (at, which), s in zip(out, clean, samples, strict=True)
        ]


def reordered(block: Tensor, hidden: Tensor) -> Rows:
    """Clean rows in their order, then noisy ones, each block's observed tokens before its masked ones."""
    length = len(block)
    at = torch.arange(length)
    size = torch.bincount(block)
    begin = torch.cumsum(size, 0) - size
    standing = sorted(range(length), key=lambda i: (int(block[i]), bool(hidden[i]), i))
    physical = torch.empty(length, dtype=torch.long)
    physical[torch.tensor(standing)] = at
    within = physical - begin[block]
    base = 2 * begin[block]
    return Rows(
        source=torch.cat([at, torch.tensor(standing)]),
        order=torch.cat([base + size[block] + at - begin[block], (base + within)[torch.tensor(standing)]]),
        branch=torch.cat([torch.full_like(at, TRUNK), 1 + block[torch.tensor(standing)]]),
        ancestor=forest([-1] + [TRUNK] * len(size)),
        clean=at,
        noisy=length + physical,
    )
