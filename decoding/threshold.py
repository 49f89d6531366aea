"""Confidence-threshold block diffusion (Fast-dLLM, arXiv 2505.22618, "confidence-aware parallel
decoding"; the MDM mode of Fast-dVLM).

Per block: denoise in bidirectional passes, each committing every row whose probability reaches the threshold and always the best
one; then one pass in the checkpoint's commit attention makes the block permanent. Lossy: the answer is not that of causal decoding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from decoding import rows
from decoding.canvas import prefill, settle
from decoding.rules import Pick, commit, greedy, restrict
from edge.core.blockspec import BlockSpec
from edge.core.types import GUESS, TRUNK, After, At, Canvas, Strategy


def threshold(
    canvas: Canvas, spec: BlockSpec, *, threshold: float = 0.9, block_size: int | None = None, pick: Pick = greedy
) -> Strategy:
    """Commit rows at or above probability `threshold` (of the plain softmax, whatever the temperature)."""
    size = block_size or spec.block_size
    _settle(canvas)
    if canvas.finish:
        return
    if canvas.kept < canvas.prompt_len:
        logits = yield from prefill(canvas, spec)
        if logits is not None and spec.draft_shift == 1:
            _seed(canvas, canvas.kept, logits, pick)
    # With commit "none" the last denoising pass itself is kept, so its rows are said rather than guessed.
    branch = TRUNK if spec.commit == "none" else GUESS
    while canvas.kept < len(canvas):
        _settle(canvas)
        if canvas.finish:
            return
        start, end = canvas.kept, block_end(canvas, spec, size)
        while (open_rows := (~canvas.decided[start:end]).nonzero().flatten() + start).numel():
            reply = yield rows.block(canvas, start, end, tuple(At(int(r) - start) for r in open_rows), branch)
            assert reply is not None
            _denoise(canvas, open_rows, reply.logits, threshold, pick)
            _settle(canvas)
            end = min(end, len(canvas))
        if _finished(canvas, spec, end):
            return
        if spec.commit == "none":
            yield rows.keep_first(end - start)
            canvas.kept = end
            continue
        wanted = spec.draft_shift == 1 and not bool(canvas.decided[end])
        want = (After(end - start - 1),) if wanted else ()
        if spec.commit == "causal":
            reply = yield rows.causal(canvas, start, end, want)
        else:
            reply = yield rows.block(canvas, start, end, want, TRUNK)
        yield rows.keep_first(end - start)
        canvas.kept = end
        if wanted:
            assert reply is not None
            _seed(canvas, end, reply.logits[0], pick)


def _settle(canvas: Canvas) -> None:
    """Decide what the constraint leaves no choice about. Free text ends with its block instead: rows behind a stop token count."""
    if canvas.constraint is not None:
        settle(canvas)


def block_end(canvas: Canvas, spec: BlockSpec, size: int) -> int:
    """Exclusive end of the block that starts at the first row not kept."""
    if canvas.block_ends:
        return next(e for e in canvas.block_ends if e > canvas.kept)
    origin = 0 if spec.grid_origin == "absolute" else canvas.prompt_len
    n = (canvas.kept - origin) // size + 1
    return min(origin + n * size, len(canvas))


def _seed(canvas: Canvas, row: int, logits: Tensor, pick: Pick) -> None:
    """Decide the first row of a block from the pass that ended the block before it (label shift 1)."""
    ids = None if canvas.constraint is None else [_given(canvas, row)]
    canvas.tokens[row] = pick(restrict(logits[None], ids), torch.tensor([row]))[0]
    canvas.decided[row] = True


def _denoise(canvas: Canvas, open_rows: Tensor, logits: Tensor, tau: float, pick: Pick) -> None:
    """Decide the confident rows, the most confident first; a row that then contradicts a better one waits for the next pass."""
    if canvas.constraint is not None:
        may = [_given(canvas, int(r)) for r in open_rows]
        ready = torch.tensor([bool(m.numel()) for m in may])  # the others wait for rows before them
        open_rows, logits = open_rows[ready], restrict(logits, may)[ready]
    ids = pick(logits, open_rows)
    confidence = logits.float().softmax(dim=-1).gather(1, ids[:, None]).flatten()
    for n in commit(confidence, tau).tolist():
        row, token = int(open_rows[n]), int(ids[n])
        if canvas.constraint is None or bool((_given(canvas, row) == token).any()):
            canvas.tokens[row] = token
            canvas.decided[row] = True


def _given(canvas: Canvas, row: int) -> Tensor:
    """Ids that row `row` may take beside everything decided."""
    assert canvas.constraint is not None
    p = canvas.prompt_len
    return canvas.constraint.allowed_given(row - p, canvas.tokens[p:], canvas.decided[p:])


def _finished(canvas: Canvas, spec: BlockSpec, end: int) -> bool:
    """Whether the block up to `end` ends the answer; free text is cut after its first stop token."""
    if canvas.finish is not None:
        return True
    if canvas.constraint is None:
        p = canvas.prompt_len
        for r in range(p, end):
            if int(canvas.tokens[r]) in spec.stop_ids:
                canvas.tokens, canvas.decided, canvas.frozen = (t[: r + 1] for t in (canvas.tokens, canvas.decided, canvas.frozen))
                canvas.finish = "stop"
                return True
    if end == len(canvas):
        canvas.finish = "stop" if canvas.constraint is not None else "length"
        return True
    return False
