"""Confidence-threshold block diffusion (Fast-dLLM, arXiv 2505.22618, "confidence-aware parallel decoding"; the MDM mode of
Fast-dVLM, arXiv 2604.06832, whose HierarchyBlock denoises a block's sub-blocks in turn).

Each pass makes final every row whose probability reaches the threshold, and always the best one.
"""

from __future__ import annotations

from decoding.denoise import denoise, whole
from decoding.rules import Pick, commit, confidence, greedy
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError
from edge.core.types import Canvas, Strategy


def threshold(
    canvas: Canvas,
    spec: BlockSpec,
    *,
    threshold: float = 0.9,
    block_size: int | None = None,
    sub_block: int | None = None,
    pick: Pick = greedy,
) -> Strategy:
    """Commit rows at or above probability `threshold` (of the plain softmax, whatever the temperature).

    sub_block: rows, counted from the block's first one, that are finished before those behind them are begun; the passes still span
    the block. Raises InputError for one below 1.
    """
    if sub_block is not None and not (isinstance(sub_block, int) and sub_block >= 1):
        raise InputError(f"sub_block must be a positive integer, the rows denoised at a time: got {sub_block!r}")
    return denoise(
        canvas,
        spec,
        lambda probabilities, ids: commit(confidence(probabilities, ids), threshold),
        block_size=block_size,
        window=whole if sub_block is None else lambda open_rows: open_rows[open_rows // sub_block == open_rows[0] // sub_block],
        pick=pick,
    )
