"""Greedy (or sampled) next-token decoding: the oracle of every lossless strategy, and the baseline of every figure.

Frozen and forced rows cost rows, not forwards: they ride along with the next open one, so the baseline is not flattered by
counting them.
"""

from __future__ import annotations

from decoding import rows
from decoding.canvas import choose, decide, prefill, require_causal, settle
from decoding.guarantees import lossless
from decoding.rules import Pick, greedy
from edge.core.blockspec import BlockSpec
from edge.core.types import After, Canvas, Strategy


@lossless
def autoregressive(canvas: Canvas, spec: BlockSpec, *, pick: Pick = greedy) -> Strategy:
    """One forward per open token. Raises UnsupportedError for a checkpoint without a causal mode."""
    require_causal(spec, "ar")
    f = settle(canvas)
    if canvas.finish:
        return
    logits = None
    if canvas.kept < canvas.prompt_len:
        logits = yield from prefill(canvas, spec)
    while True:
        if logits is None:
            n = f - canvas.kept
            reply = yield rows.causal(canvas, canvas.kept, f, (After(n - 1),))
            assert reply is not None
            yield rows.keep_first(n)
            canvas.kept = f
            logits = reply.logits[0]
        decide(canvas, f, choose(canvas, f, logits, pick), spec)
        logits = None
        f = settle(canvas)
        if canvas.finish:
            return
