"""Rows of a canvas as calls: the only place where order, branch and position are put together for decoding."""

from __future__ import annotations

import torch
from torch import Tensor

from edge.core.types import GUESS, TRUNK, Call, Canvas, Keep, Want


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
