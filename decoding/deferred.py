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

from collections.abc import Generator

from torch import Tensor

from decoding import rows
from decoding.canvas import end_at_stop, prefill, settle
from decoding.rules import Pick, greedy
from decoding.threshold import _denoise, _seed, block_end
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError
from edge.core.types import GUESS, TRUNK, After, At, Call, Canvas, Keep, Reply, Strategy


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
    if _over(canvas, spec):
        return
    if canvas.kept < canvas.prompt_len:
        logits = yield from prefill(canvas, spec)
        if logits is not None and spec.draft_shift == 1:
            _seed(canvas, canvas.kept, logits, pick)
    while not _over(canvas, spec):
        start, end = canvas.kept, _block_end(canvas, spec, block_size)
        computed = False
        while (open_rows := (~canvas.decided[start:end]).nonzero().flatten() + start).numel():
            asked = in_window(open_rows, initial_window, max_window)
            reply = yield rows.block(canvas, start, end, tuple(At(int(r) - start) for r in asked), _branch(spec))
            assert reply is not None
            computed = True
            _denoise(canvas, asked, reply.logits, threshold, pick)
            if _over(canvas, spec):
                return
        logits = yield from _make_permanent(canvas, spec, end, computed)
        if logits is not None:
            _seed(canvas, end, logits, pick)


def in_window(open_rows: Tensor, initial_window: int, max_window: int) -> Tensor:
    """The masked rows in the window: those within `max_window` rows from the first, at most `initial_window` of them.

    open_rows: int64 [n], ascending, n >= 1. Returns its first m, 1 <= m <= n (DCD, the window's two bounds).
    """
    near = open_rows[open_rows - open_rows[0] < max_window]
    return near[:initial_window]


def _over(canvas: Canvas, spec: BlockSpec) -> bool:
    """Decide what the constraint leaves no choice about; whether the answer is complete."""
    end_at_stop(canvas, spec)
    settle(canvas)
    return canvas.finish is not None


def _block_end(canvas: Canvas, spec: BlockSpec, block_size: int | None) -> int:
    """Exclusive end of the block in work: the whole answer, unless the checkpoint or the caller has blocks."""
    if block_size is None and spec.prompt == "full" and spec.commit == "none":
        return len(canvas)
    return block_end(canvas, spec, block_size or spec.block_size)


def _branch(spec: BlockSpec) -> int:
    """With commit "none" the last denoising pass itself is kept, so its rows are said rather than guessed."""
    return TRUNK if spec.commit == "none" else GUESS


def _make_permanent(
    canvas: Canvas, spec: BlockSpec, end: int, computed: bool
) -> Generator[Call | Keep, Reply | None, Tensor | None]:
    """Keep the block up to `end`. Returns the prediction float [V] of row `end` where this pass gives it and it is open.

    computed: whether the last call was a denoising pass of this block.
    """
    start = canvas.kept
    wanted = spec.draft_shift == 1 and spec.commit != "none" and not bool(canvas.decided[end])
    want = (After(end - start - 1),) if wanted else ()
    reply: Reply | None = None
    if spec.commit == "causal":
        reply = yield rows.causal(canvas, start, end, want)
    elif spec.commit == "block" or not computed:
        reply = yield rows.block(canvas, start, end, want, TRUNK)
    canvas.kept = end
    yield rows.keep_first(end - start)
    return reply.logits[0] if wanted and reply is not None else None
