"""Which answer rows of the noisy copies are masked (Fast-dVLM, arXiv 2604.06832; section noise of Fast-dDrive, arXiv 2605.23163).

Per block: t ~ Beta(a, b) of the block's section, every open row masked with p = (1 - eps) t + eps in copy A, and the open rows that
are left in copy B. Frozen rows are never masked, the stop token being one of them.
Shapes: `B` batch, `N` answer rows, `K` blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from converters.recipe import Noise
from edge.core.types import Section


def block_sections(block_ends: Sequence[int], frozen: Tensor, sections: Sequence[Section]) -> list[str]:
    """Name of each block's section: that of its last open row, since leading frozen rows may stem from the section before.

    A block without an open row has that of its last row.
    """
    names = []
    start = 0
    for end in block_ends:
        open_rows = (~frozen[start:end]).nonzero().flatten()
        row = start + int(open_rows[-1]) if open_rows.numel() else end - 1
        names.append(next(s.name for s in sections if s.start <= row < s.end))
        start = end
    return names


class Corruption:
    """Masks for one block grid. frozen: bool [N]; sections: of the answer."""

    def __init__(self, noise: Noise, block_ends: Sequence[int], frozen: Tensor, sections: Sequence[Section]) -> None:
        self.noise = noise
        self.open = (~frozen).numpy()
        lengths = np.diff([0, *block_ends])
        self.block = np.repeat(np.arange(len(block_ends)), lengths)
        names = block_sections(block_ends, frozen, sections)
        self.a, self.b = np.array([noise.beta.get(n, (1.0, 1.0)) for n in names]).T
        # Rank of each open row among the open rows of its block, and how many there are.
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        ranks = np.cumsum(self.open) - self.open
        self.rank = ranks - ranks[starts][self.block]
        self.count = np.maximum(1, np.add.reduceat(self.open, starts, dtype=np.int64))

    def draw(self, batch: int, seed: Sequence[int]) -> Tensor:
        """bool [2, B, N], true where the row is shown as the mask token in copy A and in copy B. A function of the seed."""
        rng = np.random.default_rng([*seed, 2])
        k, n = self.a.shape[0], self.open.shape[0]
        t = rng.beta(self.a, self.b, (batch, k))
        p = (1 - self.noise.eps) * t + self.noise.eps
        first = (rng.random((batch, n)) < p[:, self.block]) & self.open
        second = self.open & ~first
        if self.noise.suffix_share:
            # What a draft sees in self-speculation: rows up to a rejection are known, all after it are masked. Copy B is the
            # draft at the start of the block, where every round begins.
            chosen = (rng.random((batch, k)) < self.noise.suffix_share)[:, self.block]
            cut = (rng.random((batch, k)) * self.count).astype(np.int64)[:, self.block]
            first = np.where(chosen, self.open & (self.rank >= cut), first)
            second = np.where(chosen, self.open, second)
        return torch.from_numpy(np.stack([first, second]))
