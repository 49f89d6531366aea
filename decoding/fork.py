"""Forked rollouts: several answers over one prefix, in the same forwards (N branches of a section, Fast-dDrive's inference scaling,
arXiv 2605.23163, which runs them one after the other).

Every lineage is decoded by a strategy of its own on a canvas of its own; the host merges what they want computed into one call a
step, each lineage a branch of the trunk. A lineage sees the trunk and itself, so N together are N alone, token for token.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from decoding.canvas import prefill
from edge.core.blockspec import BlockSpec
from edge.core.types import LINEAGE, TRUNK, After, At, Call, Canvas, Draft, Host, Keep, Reply, Strategy


def up_to(strategy: Strategy, canvas: Canvas, row: int, spec: BlockSpec) -> Strategy:
    """Run `strategy` on the scaffolded `canvas` until all rows before canvas row `row` are decided, and there open it for a fork.

    What was decided beyond is open again, and predictions of it that are at hand stand as a draft. The prompt, and as much as is
    known of what follows, is encoded on the trunk and not once per lineage; the row before the first open one stays pending.
    """
    call: Call | None = None
    reply: Reply | None = None
    try:
        request = next(strategy)
        while canvas.frontier < row:
            if isinstance(request, Keep):
                yield request
                request = strategy.send(None)
                continue
            call, reply = request, (yield request)
            request = strategy.send(reply)
        if isinstance(request, Keep) and call is not None:
            yield from _keep_before(_first_open(canvas, row) - 1, canvas, call, request, spec)
            strategy.send(None)  # a strategy that drafts ahead says now what it drafted
    except StopIteration:
        pass
    strategy.close()
    _reopen(canvas, row, call, reply)
    if canvas.kept < canvas.prompt_len:
        before = prefix(canvas, canvas.frontier)
        yield from prefill(before, spec)
        canvas.kept = before.kept


def _keep_before(limit: int, canvas: Canvas, call: Call, keep: Keep, spec: BlockSpec) -> Strategy:
    """Keep of the last round what lies before canvas row `limit`; rows of one order are kept together or not at all."""
    start = int(call.position[keep.rows].min())
    canvas.kept = min(canvas.kept, limit) if spec.commit == "causal" else start
    mine = keep.rows[call.position[keep.rows] < canvas.kept]
    if mine.numel():
        yield Keep(mine)


def _first_open(canvas: Canvas, row: int) -> int:
    """The first row from `row` on that the scaffold leaves open, or the end."""
    open_ = (~canvas.frozen[row:]).nonzero()
    return row + int(open_[0]) if open_.numel() else len(canvas)


def _reopen(canvas: Canvas, row: int, call: Call | None, reply: Reply | None) -> None:
    """Forget what was decided from `row` on, but for its predictions."""
    again = canvas.decided & ~canvas.frozen
    again[:row] = False
    canvas.decided[again] = False
    canvas.finish = None
    if call is None or reply is None or not bool(again.any()):
        return
    at = {
        int(call.position[w.row]) + 1: n
        for n, w in enumerate(call.want)
        if isinstance(w, After) and int(call.branch[w.row]) == TRUNK
    }
    seen = [r for r in again.nonzero().flatten().tolist() if r in at]
    draft = canvas.draft
    rows, logits = [torch.tensor(seen, dtype=torch.long)], [reply.logits[[at[r] for r in seen]]]
    if draft is not None:
        later = draft.rows > (seen[-1] if seen else -1)
        rows, logits = [*rows, draft.rows[later]], [*logits, draft.logits[later]]
    canvas.draft = Draft(torch.cat(rows), torch.cat(logits)) if sum(map(len, rows)) else None


def prefix(canvas: Canvas, row: int) -> Canvas:
    """The canvas up to canvas row `row`. Shares nothing that is written to."""
    return dataclasses.replace(
        canvas,
        tokens=canvas.tokens[:row].clone(),
        decided=canvas.decided[:row].clone(),
        frozen=canvas.frozen[:row].clone(),
        block_ends=tuple(e for e in canvas.block_ends if e <= row),
    )


def lineage(canvas: Canvas) -> Canvas:
    """A canvas of its own that goes on where `canvas` stands."""
    return prefix(canvas, len(canvas))


@dataclass(slots=True)
class _Lineage:
    """One strategy, the call it waits for, and which rows of the merged call are its own."""

    strategy: Strategy
    number: int
    call: Call | None = None
    start: int = 0

    def advance(self, answer: Reply | None) -> list[Tensor]:
        """Go on to the next call or the end; returns the rows of the merged call that are kept on the way."""
        kept: list[Tensor] = []
        self.call = None
        while True:
            try:
                request = self.strategy.send(answer)
            except StopIteration:
                return kept
            if isinstance(request, Call):
                self.call = request
                return kept
            assert isinstance(request, Keep)
            kept.append(request.rows + self.start)
            answer = None


def together(strategies: Sequence[Strategy], host: Host) -> Generator[Call, None, None]:
    """Drive strategies as lineages 1, 2, ... of one host; yields each merged call after its replies were digested."""
    lineages = [_Lineage(s, n) for n, s in enumerate(strategies, start=1)]
    try:
        for lineage in lineages:
            lineage.advance(None)
        while running := [x for x in lineages if x.call is not None]:
            call = merged(running)
            reply = host.forward(call)
            kept: list[Tensor] = []
            at = 0
            for lineage in running:
                assert lineage.call is not None
                n = len(lineage.call.want)
                kept += lineage.advance(Reply(reply.logits[at : at + n]))
                at += n
            if kept:
                host.keep(torch.cat(kept))
            yield call
    finally:
        for lineage in lineages:
            lineage.strategy.close()


def merged(lineages: Sequence[_Lineage]) -> Call:
    """The calls of several lineages as one, each moved to its own branches."""
    calls: list[Call] = []
    want: list[After | At] = []
    start = 0
    for lineage in lineages:
        call = lineage.call
        assert call is not None
        lineage.start = start
        calls.append(dataclasses.replace(call, branch=call.branch + lineage.number * LINEAGE))
        want += [type(w)(w.row + start) for w in call.want]
        start += len(call)
    return Call(
        torch.cat([c.tokens for c in calls]),
        torch.cat([c.masked for c in calls]),
        torch.cat([c.order for c in calls]),
        torch.cat([c.branch for c in calls]),
        torch.cat([c.position for c in calls]),
        tuple(want),
    )
