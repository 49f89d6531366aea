"""The denoising loop of block diffusion (Fast-dLLM v2, arXiv 2509.26328; Fast-dVLM, arXiv 2604.06832, MDM mode).

    prefill
    per block: denoise in bidirectional passes until nothing is open, each making final the rows that a commit rule names
               one more pass, in the checkpoint's commit attention, makes the block permanent and predicts the row behind it

Lossy: the answer is not that of causal decoding. What a strategy adds is its rule (`decoding.rules.CommitRule`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch
from torch import Tensor

from decoding import rows
from decoding.canvas import end_at_stop, given, prefill, settle
from decoding.rules import CommitRule, Pick, greedy, restrict
from edge.core.blockspec import BlockSpec
from edge.core.types import GUESS, TRUNK, After, At, Call, Canvas, Draft, Keep, Reply, Strategy

Window = Callable[[Tensor], Tensor]
"""Open rows of a block, int64 [n] counted from its first row, n >= 1 -> those of them whose turn it is, at least one."""


def whole(open_rows: Tensor) -> Tensor:
    """A `Window`: all open rows of the block."""
    return open_rows


Lead = Callable[[Canvas, Tensor | None, Pick], None]
"""What becomes of the prediction float [V] that the pass before a block makes of its first row (None: that row is decided)."""


def seed(canvas: Canvas, logits: Tensor | None, pick: Pick) -> None:
    """A `Lead`: the first row is decided at once, whatever its confidence (Fast-dLLM v2, Fast-dVLM)."""
    if logits is None:
        return
    row = canvas.kept
    ids = None if canvas.constraint is None else [given(canvas, row)]
    canvas.tokens[row] = pick(restrict(logits[None], ids), torch.tensor([row]))[0]
    canvas.decided[row] = True


def hold(canvas: Canvas, logits: Tensor | None, pick: Pick) -> None:
    """A `Lead`: the first row stays open, and its prediction competes with those of the block's own passes."""
    canvas.draft = None if logits is None else Draft(torch.tensor([canvas.kept]), logits[None])


def denoise(
    canvas: Canvas,
    spec: BlockSpec,
    rule: CommitRule,
    *,
    block_size: int | None = None,
    window: Window = whole,
    lead: Lead = seed,
    pick: Pick = greedy,
) -> Strategy:
    """Denoise block after block of `block_size` rows (default: the checkpoint's), or of the scaffold's own.

    window: the open rows that a pass may make final; it computes the whole block nonetheless. lead: for checkpoints with label
    shift 1, where a block's first row is predicted by the pass before.
    """
    if _over(canvas, spec):
        return
    if canvas.kept < canvas.prompt_len:
        logits = yield from prefill(canvas, spec)
        if spec.draft_shift == 1:
            lead(canvas, logits, pick)
    while not _over(canvas, spec):
        end = block_end(canvas, spec, block_size or spec.block_size)
        yield from _fill(canvas, spec, end, rule, window, pick)
        if canvas.finish is not None:
            return
        logits = yield from _make_permanent(canvas, spec, end)
        if spec.draft_shift == 1:
            lead(canvas, logits, pick)


def block_end(canvas: Canvas, spec: BlockSpec, size: int) -> int:
    """Exclusive end of the block that starts at the first row not kept."""
    if canvas.block_ends:
        return next(e for e in canvas.block_ends if e > canvas.kept)
    origin = 0 if spec.grid_origin == "absolute" else canvas.prompt_len
    n = (canvas.kept - origin) // size + 1
    return min(origin + n * size, len(canvas))


def _fill(canvas: Canvas, spec: BlockSpec, end: int, rule: CommitRule, window: Window, pick: Pick) -> Strategy:
    """Denoise the block up to row `end`, or until the answer is complete."""
    start = canvas.kept
    # With commit "none" the last denoising pass itself is kept, so its rows are said rather than guessed.
    branch = TRUNK if spec.commit == "none" else GUESS
    if spec.commit == "none" and bool(canvas.decided[start:end].all()):
        yield rows.block(canvas, start, end, (), branch)
    while (open_rows := (~canvas.decided[start:end]).nonzero().flatten()).numel():
        turn = window(open_rows) + start
        predicted = _held(canvas, int(turn[0]))
        asked = turn[len(predicted) :]
        if asked.numel():
            reply = yield rows.block(canvas, start, end, tuple(At(int(r) - start) for r in asked), branch)
            assert reply is not None
            predicted.append(reply.logits)
        fill(canvas, turn, torch.cat(predicted), lambda p, ids, _: rule(p, ids), pick)
        if _over(canvas, spec):
            return


def _held(canvas: Canvas, row: int) -> list[Tensor]:
    """The prediction float [1, V] that `hold` put by for `row`, if there is one."""
    draft = canvas.draft
    return [draft.logits] if draft is not None and int(draft.rows[0]) == row else []


def fill(canvas: Canvas, open_rows: Tensor, logits: Tensor, rule: Callable[[Tensor, Tensor, Tensor], Tensor], pick: Pick) -> None:
    """Decide the rows that `rule` (of probabilities [n, V], picked ids [n] and rows [n]) names, in its order.

    A row that then contradicts a better one waits for the next pass.
    """
    if canvas.constraint is not None:
        may = [given(canvas, int(r)) for r in open_rows]
        ready = torch.tensor([bool(m.numel()) for m in may])  # the others wait for rows before them
        open_rows, logits = open_rows[ready], restrict(logits, may)[ready]
    ids = pick(logits, open_rows)
    for n in rule(logits.softmax(dim=-1), ids, open_rows).tolist():
        row, token = int(open_rows[n]), int(ids[n])
        if canvas.constraint is None or bool((given(canvas, row) == token).any()):
            canvas.tokens[row] = token
            canvas.decided[row] = True


def _make_permanent(canvas: Canvas, spec: BlockSpec, end: int) -> Generator[Call | Keep, Reply | None, Tensor | None]:
    """Keep the block up to `end`. Returns the prediction float [V] of row `end` where that is open and this pass gives one."""
    start = canvas.kept
    wanted = spec.draft_shift == 1 and spec.commit != "none" and not bool(canvas.decided[end])
    want = (After(end - start - 1),) if wanted else ()
    reply: Reply | None = None
    if spec.commit == "causal":
        reply = yield rows.causal(canvas, start, end, want)
    elif spec.commit == "block":
        reply = yield rows.block(canvas, start, end, want, TRUNK)
    yield rows.keep_first(end - start)
    canvas.kept = end
    return reply.logits[0] if wanted and reply is not None else None


def _over(canvas: Canvas, spec: BlockSpec) -> bool:
    """Decide what the constraint leaves no choice about; whether the answer is complete."""
    end_at_stop(canvas, spec)
    settle(canvas)
    return canvas.finish is not None
