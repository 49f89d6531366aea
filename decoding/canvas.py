"""What every strategy does to a canvas: lay out a scaffold, decide tokens, settle forced ones, notice the end, prefill."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from decoding import rows
from decoding.rules import Pick, restrict
from decoding.scaffold import Scaffold
from edge.core.blockspec import BlockSpec
from edge.core.errors import UnsupportedError
from edge.core.types import After, Call, Canvas, Constraint, Keep, Reply


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


def constrained(prompt: Tensor, constraint: Constraint, block_size: int) -> Canvas:
    """A canvas whose answer follows a scaffold, or a flow, whose rows get their places on the way."""
    if isinstance(constraint, Scaffold):
        return scaffolded(prompt, constraint, block_size)
    canvas = Canvas.open(prompt, len(constraint))
    canvas.constraint = constraint
    return canvas


def require_causal(spec: BlockSpec, strategy: str) -> None:
    """Refuse a strategy that needs a causal mode on a checkpoint without one."""
    if not spec.causal_mode:
        raise UnsupportedError(
            f"strategy {strategy!r} runs in the model's causal mode and this checkpoint has none "
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
        _cut(canvas, row + 1)
        canvas.finish = "stop"


def settle(canvas: Canvas) -> int:
    """Decide rows that have only one possible token: at the frontier, and literal rows behind it whose place is certain.

    Sets `finish` and ends the canvas when the answer is complete. Returns the frontier.
    """
    f, p, constraint = canvas.frontier, canvas.prompt_len, canvas.constraint
    if constraint is None:
        if f == len(canvas) and canvas.finish is None:
            canvas.finish = "length"
        return f
    cursor = constraint.cursor(f - p, canvas.tokens[p:])
    while f < len(canvas) and not cursor.over:
        if not canvas.decided[f]:
            ids = cursor.ids()
            if ids.numel() > 1:
                _join(canvas, constraint.ahead(f - p, canvas.tokens[p:]))
                return f
            canvas.tokens[f] = ids[0]
            canvas.decided[f] = True
        cursor.step(int(canvas.tokens[f]))
        f += 1
    _cut(canvas, f)
    canvas.finish = canvas.finish or ("stop" if cursor.over else "length")
    return f


def _join(canvas: Canvas, literals: list[tuple[int, int]]) -> None:
    for row, token in literals:
        canvas.tokens[canvas.prompt_len + row] = token
        canvas.decided[canvas.prompt_len + row] = canvas.frozen[canvas.prompt_len + row] = True


def _cut(canvas: Canvas, end: int) -> None:
    canvas.tokens, canvas.decided, canvas.frozen = (t[:end] for t in (canvas.tokens, canvas.decided, canvas.frozen))


def given(canvas: Canvas, row: int) -> Tensor:
    """Ids int64 that row `row` may take beside everything decided; none where it has to wait for rows before it."""
    assert canvas.constraint is not None
    p = canvas.prompt_len
    return canvas.constraint.allowed_given(row - p, canvas.tokens[p:], canvas.decided[p:])


def end_at_stop(canvas: Canvas, spec: BlockSpec) -> None:
    """End free text after the first stop token of its decided leading rows: one behind an open row may yet be cut off itself."""
    if canvas.constraint is not None or canvas.finish is not None or not spec.stop_ids:
        return
    hits = torch.isin(canvas.answer(), as_tensor(list(spec.stop_ids))).nonzero()
    if hits.numel():
        _cut(canvas, canvas.prompt_len + int(hits[0]) + 1)
        canvas.finish = "stop"


def choose(canvas: Canvas, row: int, logits: Tensor, pick: Pick) -> int:
    """The token picked for the frontier row `row` from logits [V], under the constraint."""
    ids = None
    if canvas.constraint is not None:
        p = canvas.prompt_len
        ids = [canvas.constraint.cursor(row - p, canvas.tokens[p:]).ids()]
    return int(pick(restrict(logits[None], ids), torch.tensor([row]))[0])


def prefill(canvas: Canvas, spec: BlockSpec) -> Generator[Call | Keep, Reply | None, Tensor | None]:
    """Make the prompt permanent, as the checkpoint wants it encoded.

    Returns the prediction of the row after the last kept one (float [V]), or None when that row is decided or the checkpoint
    gives no such prediction. With a causal prompt, decided rows right behind it (a scaffold's opening) go along; the last row of a
    canvas stays pending.
    """
    if spec.prompt == "causal":
        stop = min(canvas.frontier, len(canvas) - 1) if spec.commit == "causal" else canvas.prompt_len
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
