"""What every strategy does to a canvas: lay out a scaffold, decide tokens, settle forced ones, notice the end, prefill."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from decoding import rows
from decoding.scaffold import Scaffold
from edge.core.blockspec import BlockSpec
from edge.core.errors import UnsupportedError
from edge.core.types import After, Call, Canvas, Keep, Reply


def scaffolded(prompt: Tensor, scaffold: Scaffold, block_size: int) -> Canvas:
    """A canvas whose answer follows a scaffold: prompt int64 [P], then the scaffold's rows, frozen ones decided."""
    canvas = Canvas.open(prompt, len(scaffold))
    p = canvas.prompt_len
    canvas.tokens[p:] = scaffold.tokens
    canvas.decided[p:] = scaffold.frozen
    canvas.frozen = canvas.decided.clone()
    canvas.constraint = scaffold
    canvas.block_ends = tuple(p + e for e in scaffold.block_ends(block_size))
    return canvas


def require_causal(spec: BlockSpec, strategy: str) -> None:
    """Refuse a strategy that needs a causal mode on a checkpoint without one."""
    if not spec.causal_mode:
        raise UnsupportedError(
            f"strategy {strategy!r} verifies in the model's causal mode and this checkpoint has none "
            "(BlockSpec.causal_mode is false); use strategy 'threshold'"
        )
    if spec.prompt != "causal" or spec.commit != "causal":
        raise UnsupportedError(
            f"strategy {strategy!r} needs a causal prompt and causal commits: BlockSpec has prompt={spec.prompt!r}, "
            f"commit={spec.commit!r}; use strategy 'threshold'"
        )


def decide(canvas: Canvas, row: int, token: int, spec: BlockSpec) -> None:
    """Write one token; a stop token of free text ends the canvas after it."""
    canvas.tokens[row] = token
    canvas.decided[row] = True
    if canvas.constraint is None and token in spec.stop_ids:
        canvas.tokens, canvas.decided, canvas.frozen = (t[: row + 1] for t in (canvas.tokens, canvas.decided, canvas.frozen))
        canvas.finish = "stop"


def settle(canvas: Canvas) -> int:
    """Decide rows at the frontier that have only one possible token; set `finish` when nothing is open. Returns the frontier."""
    p = canvas.prompt_len
    while (f := canvas.frontier) < len(canvas):
        token = canvas.constraint.forced(f - p, canvas.tokens[p:]) if canvas.constraint is not None else None
        if token is None:
            return f
        canvas.tokens[f] = token
        canvas.decided[f] = True
    if canvas.finish is None:
        canvas.finish = "length" if canvas.constraint is None else "stop"
    return f


def allowed(canvas: Canvas, start: int, stop: int, tokens: Tensor) -> Tensor | None:
    """Ids allowed at canvas rows `start .. stop-1` (bool [stop-start, V]) when the whole canvas holds `tokens` [>= stop]."""
    if canvas.constraint is None:
        return None
    p = canvas.prompt_len
    return canvas.constraint.allowed(start - p, tokens[p:stop])


def prefill(canvas: Canvas, spec: BlockSpec) -> Generator[Call | Keep, Reply | None, Tensor | None]:
    """Make the prompt permanent, as the checkpoint wants it encoded.

    Returns the prediction of the row after the last kept one (float [V]), or None when that row is decided or the checkpoint
    gives no such prediction. With a causal prompt, decided rows right behind it (a scaffold's opening) go along.
    """
    if spec.prompt == "causal":
        stop = canvas.frontier if spec.commit == "causal" else canvas.prompt_len
    elif spec.prompt == "block" and spec.grid_origin == "absolute":
        stop = canvas.prompt_len // spec.block_size * spec.block_size  # the rest shares a block with the answer
    else:
        stop = canvas.prompt_len
    start = canvas.kept
    if stop <= start:
        return None
    predicts = spec.draft_shift == 1 or spec.causal_mode
    wanted = predicts and stop < len(canvas) and not bool(canvas.decided[stop])
    want = (After(stop - start - 1),) if wanted else ()
    if spec.prompt == "causal":
        call = rows.causal(canvas, start, stop, want)
    else:
        call = rows.block_causal(canvas, start, stop, spec.block_size if spec.prompt == "block" else stop, want)
    reply = yield call
    yield rows.keep_first(stop - start)
    canvas.kept = stop
    return reply.logits[0] if wanted and reply is not None else None


def answer_end(canvas: Canvas, start: int, block_size: int) -> int:
    """Exclusive end of the block that row `start` opens: the scaffold's own, or `block_size` rows on."""
    for end in canvas.block_ends:
        if end > start:
            return end
    return min(start + block_size, len(canvas))


def as_tensor(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.long)
