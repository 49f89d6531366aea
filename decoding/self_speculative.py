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

from dataclasses import dataclass

import torch
from torch import Tensor

from decoding import rows
from decoding.canvas import answer_end, choose, decide, prefill, require_causal, settle
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
            decide(canvas, canvas.kept, choose(canvas, canvas.kept, logits, pick), spec)
    while True:
        f = settle(canvas)
        if canvas.finish:
            return
        start = canvas.kept
        end = _round_end(canvas, start, f, size)
        open_rows = (~canvas.decided[f:end]).nonzero().flatten() + f

        reply = yield rows.block(canvas, start, end, tuple(At(int(r) - start) for r in open_rows))
        assert reply is not None
        proposal = propose(canvas, open_rows, end, reply.logits, pick)
        guess, end, open_rows = proposal.guess, proposal.end, open_rows[open_rows < proposal.end]

        # One more prediction than drafted rows: what follows the block, if that is open too.
        bonus = len(proposal.allowed) > open_rows.shape[0]
        judged = torch.cat([open_rows, torch.tensor([end])]) if bonus else open_rows
        reply = yield rows.causal(canvas, start, end, tuple(After(int(r) - 1 - start) for r in judged), guess=guess[start:end])
        assert reply is not None
        target = pick(restrict(reply.logits, proposal.allowed if canvas.constraint is not None else None), judged)

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


@dataclass(frozen=True, slots=True)
class Proposal:
    """guess: canvas tokens int64 [>= end] with the open rows filled; end: where the round or the guessed answer ends.

    allowed: for every open row before `end`, and for row `end` if that is open too, the ids it may take behind the guesses.
    """

    guess: Tensor
    end: int
    allowed: list[Tensor]


def propose(canvas: Canvas, open_rows: Tensor, end: int, logits: Tensor, pick: Pick) -> Proposal:
    """Fill the open rows with the draft, consistent under the constraint, from left to right.

    A draft that could not stand is a lost round, so a row whose guess contradicts the guesses before it is picked anew.
    """
    guess = canvas.tokens.clone()
    guess[open_rows] = pick(logits, open_rows)
    bonus = end < len(canvas) and not bool(canvas.decided[end])
    if canvas.constraint is None:
        nothing = torch.zeros(0, dtype=torch.long)
        return Proposal(guess, end, [nothing] * (open_rows.shape[0] + bonus))
    first, p = int(open_rows[0]), canvas.prompt_len
    cursor = canvas.constraint.cursor(first - p, canvas.tokens[p:])
    number = {r: n for n, r in enumerate(open_rows.tolist())}
    allowed: list[Tensor] = []
    for row in range(first, end):
        if cursor.over:
            return Proposal(guess, row, allowed)
        if row in number:
            ids = cursor.ids()
            allowed.append(ids)
            if not cursor.allows(int(guess[row])):
                n = number[row]
                guess[row] = pick(restrict(logits[n : n + 1], [ids]), open_rows[n : n + 1])[0]
        cursor.step(int(guess[row]))
    if bonus and not cursor.over:
        allowed.append(cursor.ids())
    return Proposal(guess, end, allowed)
