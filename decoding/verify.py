"""A proposal and its judgement: the half of a round that all lossless strategies share.

A row is accepted only when it equals the causal prediction after rows that are all final, so the answer is that of causal decoding
whatever was proposed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from decoding.canvas import decide
from decoding.rules import Pick, accepted, restrict
from edge.core.blockspec import BlockSpec
from edge.core.types import After, Canvas


@dataclass(frozen=True, slots=True)
class Proposal:
    """Canvas rows up to `end` with their open rows filled.

    guess: canvas tokens int64 [>= end]; open_rows: int64 [n], the rows that were guessed; judged: int64 [n] or [n + 1], those and
    row `end`, if what follows is open too: one prediction more than there are guesses; allowed: for every judged row the ids it
    may take behind the guesses, or None for free text.
    """

    guess: Tensor
    end: int
    open_rows: Tensor
    judged: Tensor
    allowed: list[Tensor] | None

    def want(self, start: int) -> tuple[After, ...]:
        """The predictions a causal pass over rows `start .. end-1` has to give."""
        return tuple(After(int(r) - 1 - start) for r in self.judged)

    def target(self, logits: Tensor, pick: Pick) -> Tensor:
        """What causal decoding takes at the judged rows: int64, from the wanted logits."""
        return pick(restrict(logits, self.allowed), self.judged)


def propose(canvas: Canvas, open_rows: Tensor, end: int, logits: Tensor, pick: Pick) -> Proposal:
    """Fill `open_rows` (before `end`, ascending, all open rows of theirs) with a draft, consistent under the constraint.

    A draft that could not stand is a lost round, so a row whose guess contradicts the guesses before it is picked anew. Where the
    guesses complete the answer, the proposal ends.
    """
    guess = canvas.tokens.clone()
    if open_rows.numel():
        guess[open_rows] = pick(logits, open_rows)
    bonus = end < len(canvas) and not bool(canvas.decided[end])
    last = torch.tensor([end] if bonus else [], dtype=torch.long)
    if canvas.constraint is None:
        return Proposal(guess, end, open_rows, torch.cat([open_rows, last]), None)
    first, p = int(open_rows[0]) if open_rows.numel() else end, canvas.prompt_len
    cursor = canvas.constraint.cursor(first - p, canvas.tokens[p:])
    number = {r: n for n, r in enumerate(open_rows.tolist())}
    allowed: list[Tensor] = []
    for row in range(first, end):
        if cursor.over:
            seen = open_rows[open_rows < row]
            return Proposal(guess, row, seen, seen, allowed)
        if row in number:
            ids = cursor.ids()
            allowed.append(ids)
            if not cursor.allows(int(guess[row])):
                n = number[row]
                guess[row] = pick(restrict(logits[n : n + 1], [ids]), open_rows[n : n + 1])[0]
        cursor.step(int(guess[row]))
    if not bonus or cursor.over:
        return Proposal(guess, end, open_rows, open_rows, allowed)
    return Proposal(guess, end, open_rows, torch.cat([open_rows, last]), [*allowed, cursor.ids()])


def accept(canvas: Canvas, proposal: Proposal, target: Tensor, spec: BlockSpec) -> int:
    """Decide what `target` confirms, and the first row that it corrects or adds. Returns the rows that are final and computed."""
    n = accepted(proposal.guess[proposal.open_rows], target[: proposal.open_rows.shape[0]])
    for row in proposal.open_rows[:n].tolist():
        decide(canvas, row, int(proposal.guess[row]), spec)
        if canvas.finish:
            return row + 1
    if n == proposal.judged.shape[0]:
        return proposal.end
    corrected = int(proposal.judged[n])
    decide(canvas, corrected, int(target[n]), spec)
    return corrected
