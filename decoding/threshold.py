"""Confidence-threshold block diffusion (Fast-dLLM, arXiv 2505.22618, "confidence-aware parallel
decoding"; the MDM mode of Fast-dVLM).

Per block: denoise in bidirectional passes, each committing every row whose probability reaches the threshold and always the best
one; then one pass in the checkpoint's commit attention makes the block permanent. Lossy: the answer is not that of causal decoding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from decoding import rows
from decoding.canvas import prefill
from decoding.rules import Pick, commit, greedy, restrict
from edge.core.blockspec import BlockSpec
from edge.core.types import GUESS, TRUNK, After, At, Canvas, Strategy


def threshold(
    canvas: Canvas, spec: BlockSpec, *, threshold: float = 0.9, block_size: int | None = None, pick: Pick = greedy
) -> Strategy:
    """Commit rows at or above probability `threshold` (of the plain softmax, whatever the temperature)."""
    size = block_size or spec.block_size
    if canvas.kept < canvas.prompt_len:
        logits = yield from prefill(canvas, spec)
        if logits is not None and spec.draft_shift == 1:
            _seed(canvas, canvas.kept, logits, pick)
    # With commit "none" the last denoising pass itself is kept, so its rows are said rather than guessed.
    branch = TRUNK if spec.commit == "none" else GUESS
    while canvas.kept < len(canvas) and canvas.finish is None:
        start, end = canvas.kept, block_end(canvas, spec, size)
        while (open_rows := (~canvas.decided[start:end]).nonzero().flatten() + start).numel():
            reply = yield rows.block(canvas, start, end, tuple(At(int(r) - start) for r in open_rows), branch)
            assert reply is not None
            _denoise(canvas, open_rows, reply.logits, threshold, pick)
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


def block_end(canvas: Canvas, spec: BlockSpec, size: int) -> int:
    """Exclusive end of the block that starts at the first row not kept."""
    if canvas.block_ends:
        return next(e for e in canvas.block_ends if e > canvas.kept)
    origin = 0 if spec.grid_origin == "absolute" else canvas.prompt_len
    n = (canvas.kept - origin) // size + 1
    return min(origin + n * size, len(canvas))


def _seed(canvas: Canvas, row: int, logits: Tensor, pick: Pick) -> None:
    """Decide the first row of a block from the pass that ended the block before it (label shift 1)."""
    mask = _allowed(canvas, row)
    scores = logits if mask is None else logits.masked_fill(~mask, float("-inf"))
    canvas.tokens[row] = pick(scores[None], torch.tensor([row]))[0]
    canvas.decided[row] = True


def _denoise(canvas: Canvas, open_rows: Tensor, logits: Tensor, tau: float, pick: Pick) -> None:
    """Decide the confident rows, the most confident first; a row that then contradicts a better one waits for the next pass."""
    masks = None if canvas.constraint is None else torch.stack([_constraint_row(canvas, int(r)) for r in open_rows])
    scores = restrict(logits, masks)
    ids = pick(scores, open_rows)
    confidence = scores.float().softmax(dim=-1).gather(1, ids[:, None]).flatten()
    for n in commit(confidence, tau).tolist():
        row, token = int(open_rows[n]), int(ids[n])
        mask = _allowed(canvas, row)
        if mask is None or bool(mask[token]):
            canvas.tokens[row] = token
            canvas.decided[row] = True


def _constraint_row(canvas: Canvas, row: int) -> Tensor:
    mask = _allowed(canvas, row)
    assert mask is not None
    return mask


def _allowed(canvas: Canvas, row: int) -> Tensor | None:
    if canvas.constraint is None:
        return None
    p = canvas.prompt_len
    return canvas.constraint.allowed_given(row - p, canvas.tokens[p:], canvas.decided[p:])


def _finished(canvas: Canvas, spec: BlockSpec, end: int) -> bool:
    """Whether the block up to `end` ends the answer; free text is cut after its first stop token."""
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
