"""Linear self-speculation, with or without a scaffold (Fast-dVLM, arXiv 2604.06832, "self-speculative decoding"; Fast-dDrive,
arXiv 2605.23163, "scaffold speculative decoding").

    repeat until nothing is open:
        draft:  the block's rows in one bidirectional pass, all open rows at once
        verify: the same rows with the draft filled in, in causal order
        accept: frozen rows as given, drafted rows while they equal the causal prediction
        correct: the first row that differs takes the causal prediction; the next block or round starts there

The answer is that of greedy causal decoding under the same constraint, whatever the draft was: a row is accepted only when it
equals the causal prediction after rows that are all final.
"""

from __future__ import annotations

import torch
from torch import Tensor

from decoding import rows
from decoding.canvas import allowed, answer_end, decide, prefill, require_causal, settle
from decoding.guarantees import lossless
from decoding.rules import Pick, accepted, greedy, restrict
from edge.core.blockspec import BlockSpec
from edge.core.types import After, At, Canvas, Strategy


@lossless
def self_speculative(canvas: Canvas, spec: BlockSpec, *, block_size: int | None = None, pick: Pick = greedy) -> Strategy:
    """Draft and verify blocks of `block_size` rows (default: the checkpoint's).

    Raises UnsupportedError for a checkpoint without a causal mode.
    """
    require_causal(spec, "self-spec")
    size = block_size or spec.block_size
    settle(canvas)
    if canvas.finish:
        return
    if canvas.kept < canvas.prompt_len:
        logits = yield from prefill(canvas, spec)
        if logits is not None:
            f = canvas.kept
            scores = restrict(logits[None], allowed(canvas, f, f + 1, canvas.tokens))
            decide(canvas, f, int(pick(scores, rows.positions(f, f + 1))[0]), spec)
    while True:
        f = settle(canvas)
        if canvas.finish:
            return
        start = canvas.kept
        end = _round_end(canvas, start, f, size)
        drafted = ~canvas.decided[f:end]
        open_rows = drafted.nonzero().flatten() + f

        reply = yield rows.block(canvas, start, end, tuple(At(int(r) - start) for r in open_rows))
        assert reply is not None
        guess = propose(canvas, open_rows, end, reply.logits, pick)

        # One more prediction than drafted rows: what follows the block, if that is open too.
        bonus = end < len(canvas) and not bool(canvas.decided[end])
        judged = torch.cat([open_rows, torch.tensor([end])]) if bonus else open_rows
        want = tuple(After(int(r) - 1 - start) for r in judged)
        reply = yield rows.causal(canvas, start, end, want, guess=guess[start:end])
        assert reply is not None
        limit = end + 1 if bonus else end
        masks = allowed(canvas, f, limit, guess)
        scores = restrict(reply.logits, None if masks is None else masks[judged - f])
        target = pick(scores, judged)

        n = accepted(guess[open_rows], target[: open_rows.shape[0]])
        stopped = False
        for r in open_rows[:n].tolist():
            decide(canvas, r, int(guess[r]), spec)
            if canvas.finish:
                stopped = True
                break
        if stopped:
            return
        if n < open_rows.shape[0]:
            wrong = int(open_rows[n])
            yield rows.keep_first(wrong - start)
            canvas.kept = wrong
            decide(canvas, wrong, int(target[n]), spec)
        else:
            yield rows.keep_first(end - start)
            canvas.kept = end
            if bonus:
                decide(canvas, end, int(target[-1]), spec)


def _round_end(canvas: Canvas, start: int, frontier: int, size: int) -> int:
    """A scaffold's block, or `size` rows from the pending token on; always at least one open row."""
    return answer_end(canvas, frontier, size) if canvas.block_ends else min(max(start + size, frontier + 1), len(canvas))


def propose(canvas: Canvas, open_rows: Tensor, end: int, logits: Tensor, pick: Pick) -> Tensor:
    """Canvas tokens int64 [>= end] with the open rows filled by the draft, consistent under the constraint.

    A draft that could not stand is a lost round, so rows whose guess contradicts the guesses before it are picked anew. Each
    pass settles at least the first such row of a field, and fields are a few rows wide.
    """
    guess = canvas.tokens.clone()
    guess[open_rows] = pick(logits, open_rows)
    if canvas.constraint is None:
        return guess
    first = int(open_rows[0])
    while True:
        masks = allowed(canvas, first, end, guess)
        assert masks is not None
        masks = masks[open_rows - first]
        fits = masks.gather(1, guess[open_rows, None]).flatten()
        if bool(fits.all()):
            return guess
        again = (~fits).nonzero().flatten()
        guess[open_rows[again]] = pick(restrict(logits[again], masks[again]), open_rows[again])
