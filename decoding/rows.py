"""Rows of a canvas as calls: the only place where order, branch and position are put together for decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from edge.core.types import GUESS, TRUNK, At, Call, Canvas, Keep, Want


def causal(canvas: Canvas, start: int, stop: int, want: tuple[Want, ...], guess: Tensor | None = None) -> Call:
    """Canvas rows `start .. stop-1` in causal order on the trunk.

    guess: int64 [stop-start], the tokens to feed instead of the canvas's own (a draft to verify).
    """
    position = torch.arange(start, stop)
    tokens = canvas.tokens[start:stop] if guess is None else guess
    shape = position.shape
    return Call(tokens, torch.zeros(shape, dtype=torch.bool), position, torch.full(shape, TRUNK, dtype=torch.long), position, want)


def block(canvas: Canvas, start: int, stop: int, want: tuple[Want, ...], branch: int = GUESS) -> Call:
    """Canvas rows `start .. stop-1` seeing each other both ways; undecided rows are masked."""
    position = torch.arange(start, stop)
    shape = position.shape
    return Call(
        canvas.tokens[start:stop],
        ~canvas.decided[start:stop],
        torch.full(shape, start, dtype=torch.long),
        torch.full(shape, branch, dtype=torch.long),
        position,
        want,
    )


def fused(
    canvas: Canvas, start: int, end: int, guess: Tensor, want: tuple[Want, ...], children: Sequence[tuple[int, int, Tensor]]
) -> Call:
    """Rows `start .. end-1` in causal order on the trunk with `guess` filled in, and drafts in branches of their own.

    A child (cut, stop, wanted) drafts canvas rows `cut .. stop-1`, seeing each other both ways, as if exactly the rows before `cut`
    were said: their order is that of row cut - 1, which shows them the trunk up to there. wanted: the rows int64 [n] wanted `At`.
    """
    calls = [causal(canvas, start, end, want, guess[start:end])]
    at = end - start
    for n, (cut, stop, wanted) in enumerate(children):
        call = block(canvas, cut, stop, tuple(At(int(r) - cut + at) for r in wanted), GUESS + n)
        calls.append(replace(call, order=torch.full_like(call.order, cut - 1)))
        at += stop - cut
    return Call(
        torch.cat([c.tokens for c in calls]),
        torch.cat([c.masked for c in calls]),
        torch.cat([c.order for c in calls]),
        torch.cat([c.branch for c in calls]),
        torch.cat([c.position for c in calls]),
        tuple(w for c in calls for w in c.want),
    )


def filled_first(canvas: Canvas, start: int, stop: int) -> Call:
    """Canvas rows `start .. stop-1` in causal order on the trunk, decided ones before masked ones, each at its own position.

    Every masked row sees all decided ones, and nothing but order hides a row, so a plain causal kernel computes the call as it
    lies. All masked rows are wanted `At`, by position. Order and position agree on the decided rows that lead.
    """
    decided = canvas.decided[start:stop]
    position = (~decided).long().argsort(stable=True) + start
    masked = ~canvas.decided[position]
    n = stop - start
    want = tuple(At(k) for k in range(int(decided.sum()), n))
    return Call(canvas.tokens[position], masked, positions(start, stop), torch.full((n,), TRUNK), position, want)


def block_causal(canvas: Canvas, start: int, stop: int, block_size: int, want: tuple[Want, ...]) -> Call:
    """Decided rows `start .. stop-1` on the trunk: both ways inside a block of the absolute grid, causal across blocks."""
    call = causal(canvas, start, stop, want)
    return Call(call.tokens, call.masked, call.position // block_size * block_size, call.branch, call.position, want)


def keep_first(n: int) -> Keep:
    """Keep the first `n` rows of the last call."""
    return Keep(torch.arange(n))


def positions(start: int, stop: int) -> Tensor:
    """int64 [stop-start]: the canvas rows themselves, which are also their positions."""
    return torch.arange(start, stop)
