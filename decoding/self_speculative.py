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

from decoding import rows
from decoding.canvas import answer_end, choose, decide, prefill, require_causal, settle
from decoding.guarantees import lossless
from decoding.rules import Pick, greedy
from decoding.verify import accept, propose
from edge.core.blockspec import BlockSpec
from edge.core.types import At, Canvas, Strategy


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
        end = proposal.end
        reply = yield rows.causal(canvas, start, end, proposal.want(start), guess=proposal.guess[start:end])
        assert reply is not None
        done = accept(canvas, proposal, proposal.target(reply.logits, pick), spec)
        if canvas.finish:
            return
        canvas.kept = min(done, len(canvas) - 1)  # the last row stays pending: who goes on from here predicts from it
        yield rows.keep_first(canvas.kept - start)


def _round_end(canvas: Canvas, start: int, frontier: int, size: int) -> int:
    """A scaffold's block, or `size` rows from the pending token on; always at least one open row."""
    return answer_end(canvas, frontier, size) if canvas.block_ends else min(max(start + size, frontier + 1), len(canvas))
