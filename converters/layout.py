"""The training layout of the convert stage, in the one rule of visibility: order, branch, ancestor.

One sequence holds a sample's clean rows and two noisy copies of its answer:

    [ clean: prompt, answer | noisy A: answer | noisy B: answer ]

Clean rows are the trunk in causal order. Every block of a noisy copy is a child branch of the trunk, and all its rows have the
order of the last clean row before the block: they see that row and all before it, each other, and nothing else. That is the mask
of Fast-dVLM (arXiv 2604.06832; N2N, N2C, C2C) on the answer's rows, with a third fewer rows than the published layout, which has
the prompt in the noisy half as well and repeats the clean half for the second copy: prompt rows of a noisy half carry no loss and
are seen by no row that does.
Shapes: `B` batch, `P_i` prompt rows of sample i, `N` answer rows, `L` = max P_i + N clean rows, `C` copies, `R` = L + C * N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from converters.attention import Chunk, even_cuts, plan
from edge.core.types import TRUNK
from edge.core.visibility import forest, visible


@dataclass(frozen=True)
class Layout:
    """Rows of a batch.

    order: int64 [B or 1, R]; branch: int64 [R]; ancestor: bool [branches, branches].
    source: int64 [B or 1, R], the clean row that each row repeats (itself for a clean row).
    prompt_rows: int64 [B or 1]; clean: L; answer: N; cuts: ends of row chunks that see about the same keys.
    """

    order: Tensor
    branch: Tensor
    ancestor: Tensor
    source: Tensor
    prompt_rows: Tensor
    clean: int
    answer: int
    cuts: tuple[int, ...]

    def seen(self) -> Tensor:
        """bool [B or 1, R, R]."""
        branch = self.branch.expand_as(self.order)
        return visible(self.order, branch, self.order, branch, self.ancestor)

    def clean_rows(self, answer_rows: Tensor) -> Tensor:
        """Where answer rows (int64 [W], -1 is the last prompt row) stand in the clean part: int64 [B or 1, W]."""
        return self.prompt_rows[:, None] + answer_rows

    def noisy_rows(self, answer_rows: Tensor, copy: int) -> Tensor:
        """Where answer rows int64 [W] stand in a noisy copy: int64 [W], the same for all samples."""
        return self.clean + copy * self.answer + answer_rows


def layout(prompt_rows: Tensor, block_ends: Sequence[int], copies: int = 2) -> Layout:
    """The layout of samples with `prompt_rows` (int64 [B]) prompt rows and blocks that end at `block_ends` (answer rows).

    A sample with a shorter prompt has padding after its answer, which no other row sees. Equal prompts share one mask.
    """
    if bool((prompt_rows == prompt_rows[0]).all()):
        prompt_rows = prompt_rows[:1]
    answer = block_ends[-1]
    clean = int(prompt_rows.max()) + answer
    starts = [0, *block_ends[:-1]]
    before = torch.empty(answer, dtype=torch.long)
    block = torch.empty(answer, dtype=torch.long)
    for b, (start, end) in enumerate(zip(starts, block_ends, strict=True)):
        before[start:end], block[start:end] = start - 1, b
    trunk = torch.arange(clean).expand(prompt_rows.shape[0], -1)
    noisy_order = prompt_rows[:, None] + before
    noisy_source = prompt_rows[:, None] + torch.arange(answer)
    n = len(block_ends)
    branches = [torch.full((clean,), TRUNK), *(1 + c * n + block for c in range(copies))]
    cuts = [*even_cuts(clean), *(clean + c * answer + end for c in range(copies) for end in block_ends)]
    return Layout(
        order=torch.cat([trunk, *[noisy_order] * copies], dim=1),
        branch=torch.cat(branches),
        ancestor=forest([-1] + [TRUNK] * (copies * n)),
        source=torch.cat([trunk, *[noisy_source] * copies], dim=1),
        prompt_rows=prompt_rows,
        clean=clean,
        answer=answer,
        cuts=tuple(cuts),
    )


def plans(rows: Layout, want: Tensor, want_cuts: Sequence[int], dtype: torch.dtype) -> tuple[list[Chunk], list[Chunk]]:
    """Attention plans over all rows, and over the rows `want` (int64 [W] or [B, W]) in chunks that end at `want_cuts`."""
    seen = rows.seen()
    if want.ndim == 1:
        wanted = seen[:, want]
    else:
        batch = want.shape[0]
        wanted = seen.expand(batch, -1, -1).gather(1, want[..., None].expand(-1, -1, seen.shape[-1]))
    return plan(seen, rows.cuts, dtype), plan(wanted, want_cuts, dtype)


def response_grid(answer_rows: int, block_size: int) -> tuple[int, ...]:
    """Blocks of free text: `block_size` rows each from the answer's start, the last one cut at its end (Fast-dVLM, automatic
    truncation: no block crosses the end of a turn)."""
    return (*range(block_size, answer_rows, block_size), answer_rows)


def annealed(block_size: int, progress: float) -> int:
    """Block size at `progress` (0 to 1) of a run: 1/8, 1/4, 1/2 and all of it, from 0, 1/16, 1/4 and 9/16 on (Fast-dVLM)."""
    stage = min(3, int(4 * progress**0.5))
    return max(1, block_size >> (3 - stage))
