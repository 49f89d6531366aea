"""Forked rollouts: several answers over one prefix, in the same forwards (N branches of a section, Fast-dDrive's inference scaling,
arXiv 2605.23163, which runs them one after the other).

Every lineage is decoded by a strategy of its own on a canvas of its own; the host merges what they want computed into one call a
step, each lineage a branch of the trunk. A lineage sees the trunk and itself, so N together are N alone, token for token.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from decoding.canvas import prefill
from edge.core.blockspec import BlockSpec
from edge.core.types import LINEAGE, After, At, Call, Canvas, Host, Keep, Reply, Strategy


def prefix(canvas: Canvas, row: int) -> Canvas:
    """The canvas up to canvas row `row`, to be decoded before a fork. Shares nothing that is written to."""
    return dataclasses.replace(
        canvas,
        tokens=canvas.tokens[:row].clone(),
        decided=canvas.decided[:row].clone(),
        frozen=canvas.frozen[:row].clone(),
        block_ends=tuple(e for e in canvas.block_ends if e <= row),
    )


def continued(canvas: Canvas, said: Canvas) -> Canvas:
    """A fresh lineage: the whole `canvas` with its beginning as it was `said`."""
    n = len(said)
    tokens, decided, frozen = canvas.tokens.clone(), canvas.decided.clone(), canvas.frozen.clone()
    tokens[:n], decided[:n], frozen[:n] = said.tokens, said.decided, said.frozen
    return dataclasses.replace(canvas, tokens=tokens, decided=decided, frozen=frozen, kept=said.kept, finish=None, draft=None)


def said_once(strategy: Callable[[Canvas, BlockSpec], Strategy], canvas: Canvas, spec: BlockSpec) -> Strategy:
    """Decode what comes before a fork, and make sure that the prompt is encoded on the trunk and not once per lineage."""
    yield from strategy(canvas, spec)
    if canvas.kept < canvas.prompt_len:
        yield from prefill(canvas, spec)


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


def together(strategies: Sequence[Strategy], host: Host) -> Iterator[Call]:
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
