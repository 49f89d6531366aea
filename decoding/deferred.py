"""Deferred commitment decoding (DCD, arXiv 2601.02076: a certainty-aware sliding window).

    repeat until nothing is open:
        window: from the first masked row on, while it has no more rows than `max_window` and no more masked ones than
                `initial_window`
        commit: rows of the window whose probability reaches the threshold, or else the best one

An unsure row is left behind, masked, while the window grows to its right by as many rows as were committed, and is asked again
with the evidence of those. Where a checkpoint was trained in blocks that do not see the next one, the window slides inside the
block; where it sees prompt and answer whole (prompt "full", commit "none"), the whole answer is one block and nothing stops it.

Keys and values are permanent for finished blocks alone, as in `threshold`: every forward computes the whole block again. The
paper's prefix and dual caches, which keep those of a block in work and refresh them now and then, are approximate and left out.
"""

from __future__ import annotations

from torch import Tensor

from decoding.denoise import denoise
from decoding.rules import Pick, commit, confidence, greedy
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError
from edge.core.types import Canvas, Strategy


def deferred(
    canvas: Canvas,
    spec: BlockSpec,
    *,
    threshold: float = 0.9,
    initial_window: int = 8,
    max_window: int = 128,
    block_size: int | None = None,
    pick: Pick = greedy,
) -> Strategy:
    """Commit rows of the window at or above probability `threshold` (of the plain softmax, whatever the temperature).

    initial_window: masked rows of the window (published: 8 in blocks of 32, 16 for models that see the whole answer); max_window:
    its rows, masked or not. Raises InputError for a window without rows.
    """
    if initial_window < 1 or max_window < 1:
        raise InputError(f"initial_window and max_window must be at least 1 row: got {initial_window} and {max_window}")
    if block_size is None and spec.prompt == "full" and spec.commit == "none":
        block_size, canvas.block_ends = len(canvas), ()
    return denoise(
        canvas,
        spec,
        lambda probabilities, ids: commit(confidence(probabilities, ids), threshold),
        block_size=block_size,
        window=lambda open_rows: in_window(open_rows, initial_window, max_window),
        pick=pick,
    )


def in_window(open_rows: Tensor, initial_window: int, max_window: int) -> Tensor:
    """The masked rows in the window: those within `max_window` rows from the first, at most `initial_window` of them.

    open_rows: int64 [n], ascending, n >= 1. Returns its first m, 1 <= m <= n (DCD, the window's two bounds).
    """
    near = open_rows[open_rows - open_rows[0] < max_window]
    return near[:initial_window]
