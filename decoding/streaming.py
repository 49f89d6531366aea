"""Streaming window decoding (WeDLM, arXiv 2512.22737, "streaming parallel decoding" with topological reordering).

    repeat until the answer is complete:
        window:  the next W rows from the first open one; decided rows that are not kept yet ride along before it
        order:   decided rows by position, then masked rows by position, under a plain causal mask; positions stay true
        forward: keep the leading decided rows, whose keys and values are now those of causal text
        fill:    masked rows with entropy + penalty * distance from the first below a bound, or else the row of the least

A row decided behind an open one is computed again at every forward: what lies before it is yet to come, and only what nothing can
come before is kept. There is no commit pass, and the prompt is kept like any decided rows. Lossy: the answer is not that of causal
decoding. Meant for checkpoints whose noisy rows were trained under a causal mask, decided rows first; `BlockSpec` cannot tell.
"""

from __future__ import annotations

from torch import Tensor

from decoding import rows
from decoding.canvas import end_at_stop, require_causal, settle
from decoding.denoise import fill
from decoding.rules import Pick, greedy
from decoding.rules import entropy as entropy_of
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError, UnsupportedError
from edge.core.types import Canvas, Strategy


def streaming(
    canvas: Canvas, spec: BlockSpec, *, window: int = 16, entropy: float = 0.4, penalty: float = 0.02, pick: Pick = greedy
) -> Strategy:
    """Fill rows of a window of `window` rows whose entropy, in nats, and `penalty` for each row of distance stay below `entropy`.

    Entropy is that of the plain softmax over what the constraint allows, whatever the temperature. Raises UnsupportedError for a
    checkpoint without causal prompt, commits and mode, or with label shift 1; InputError for a window without rows.
    """
    require_causal(spec, "streaming")
    if spec.draft_shift != 0:
        raise UnsupportedError(
            "strategy 'streaming' reads every masked row's own prediction, for the row before it may stand anywhere in the order: "
            f"BlockSpec.draft_shift must be 0 and is {spec.draft_shift}; use strategy 'self-spec' or 'threshold'"
        )
    if window < 1:
        raise InputError(f"window must be at least 1 row: got {window}")
    end_at_stop(canvas, spec)
    first = settle(canvas)
    while canvas.finish is None:
        start = canvas.kept
        reply = yield rows.filled_first(canvas, start, min(first + window, len(canvas)))
        assert reply is not None
        if first > start:
            canvas.kept = first
            yield rows.keep_first(first - start)
        open_rows = (~canvas.decided[first : first + window]).nonzero().flatten() + first
        fill(canvas, open_rows, reply.logits, lambda p, _, r, f=first: surest(doubt(p, r - f, penalty), entropy), pick)
        end_at_stop(canvas, spec)
        first = settle(canvas)


def doubt(probabilities: Tensor, distance: Tensor, penalty: float) -> Tensor:
    """Entropy in nats plus `penalty` for each row of distance from the first masked one: float [n] of [n, V] and int64 [n]."""
    return entropy_of(probabilities) + penalty * distance


def surest(doubt: Tensor, bound: float) -> Tensor:
    """Rows to fill in one step: all whose doubt is below `bound`, and always the one of the least.

    doubt: float [n], n >= 1. Returns indices int64 [m], the surest first, ties from left to right.
    """
    return doubt.argsort(stable=True)[: max(1, int((doubt < bound).sum()))]
