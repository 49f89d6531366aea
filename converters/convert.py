"""The convert stage: an autoregressive model learns to draft blocks and keeps its causal mode, in one forward a step.

Direct conversion of Fast-dVLM (arXiv 2604.06832) with the section weights of Fast-dDrive (arXiv 2605.23163), on the
layout of `converters.layout`, plus an optional distillation of the model's own causal distribution into its drafts.
Shapes: `B` batch, `N` answer rows, `O` open rows but row 0, `V` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from converters.attention import Chunk, even_cuts
from converters.corruption import Corruption
from converters.data import Batch
from converters.forward import Forward
from converters.layout import Layout, annealed, layout, plans
from converters.losses import Loss, block_diffusion
from converters.recipe import Recipe
from decoding.scaffold import Scaffold
from edge.core.blockspec import BlockSpec


@dataclass(frozen=True)
class _Grid:
    """All that depends on the block size and the prompts' lengths. want: rows that carry loss, clean ones first."""

    layout: Layout
    want: Tensor
    chunks: list[Chunk]
    last: list[Chunk]


class BlockDiffusion:
    """Implements `converters.objective.Objective`."""

    def __init__(self, recipe: Recipe, scaffold: Scaffold, forward: Forward, spec: BlockSpec) -> None:
        self.recipe, self.scaffold, self.forward, self.spec = recipe, scaffold, forward, spec
        # Row 0 has its predecessor in the prompt, which has no noisy copy. Decoding takes its prediction from the prefill, which
        # the clean loss trains. For any other first row of a block the predecessor is the last row of the block before, in the
        # same copy, as published: it sees the noisy rows of its own block and learns to look one row beyond them.
        self.drafted = (~scaffold.frozen).nonzero().flatten()
        self.drafted = self.drafted[self.drafted > 0]
        self._grids: dict[tuple[int, ...], _Grid] = {}
        self._noise: dict[int, Corruption] = {}

    def __call__(self, batch: Batch, seed: tuple[int, ...], progress: float) -> Loss:
        size = annealed(self.recipe.block.size, progress) if self.recipe.block.annealing else self.recipe.block.size
        grid = self._grid(batch, size)
        masked = self._corruption(size).draw(len(batch.ids), seed)
        tokens, positions = noisy_batch(batch, grid.layout, masked, self.spec.mask_token_id)
        x = self.forward.embed(tokens, batch.patches)
        hidden = self.forward.hidden(x, positions, grid.chunks, grid.last, grid.want)
        clean, *drafts = self.forward.logits(hidden).split([len(self.scaffold), *[self.drafted.shape[0]] * 2], dim=1)
        each = (clean, torch.stack(drafts), batch.answers, masked, self.drafted)
        return block_diffusion(*each, self.scaffold, self.recipe.weights, batch.trained)

    def _corruption(self, size: int) -> Corruption:
        if size not in self._noise:
            ends = self.scaffold.block_ends(size)
            self._noise[size] = Corruption(self.recipe.noise, ends, self.scaffold.frozen, self.scaffold.sections)
        return self._noise[size]

    def _grid(self, batch: Batch, size: int) -> _Grid:
        prompts = batch.prompt_rows[:1] if batch.uniform else batch.prompt_rows
        key = (size, *prompts.tolist())
        if key not in self._grids:
            if len(self._grids) > 16:
                self._grids.clear()
            self._grids[key] = self._build(prompts, self.scaffold.block_ends(size))
        return self._grids[key]

    def _build(self, prompts: Tensor, ends: tuple[int, ...]) -> _Grid:
        rows = layout(prompts, ends)
        n, count = len(self.scaffold), self.drafted.shape[0]
        before = [rows.noisy_rows(self.drafted - 1, c).expand(prompts.shape[0], -1) for c in range(2)]
        want = torch.cat([rows.clean_rows(torch.arange(n) - 1), *before], dim=1)
        # Wanted rows of one noisy block form a chunk, as in the other layers.
        per_block = torch.searchsorted(self.drafted - 1, torch.tensor(ends)).tolist()
        ends_of = sorted({e for c in range(2) for e in (n + c * count + p for p in per_block)} - {n})
        cuts = [*even_cuts(n), *ends_of]
        want = want[0] if prompts.shape[0] == 1 else want
        return _Grid(rows, want, *plans(rows, want, cuts, self.forward.dtype))


def noisy_batch(batch: Batch, rows: Layout, masked: Tensor, mask_token_id: int) -> tuple[Tensor, Tensor]:
    """Tokens int64 [B, R] and M-RoPE positions int64 [3, B, R] of the layout.

    masked: bool [C, B, N]. A noisy row has the position of the clean row that it repeats.
    """
    size = len(batch.ids)
    noisy = batch.answers.expand_as(masked).masked_fill(masked, mask_token_id)
    tokens = torch.cat([batch.tokens, noisy.permute(1, 0, 2).reshape(size, -1)], dim=1)
    source = rows.source.expand(size, -1)
    return tokens, batch.positions.gather(2, source.expand(3, -1, -1))
