"""Fused self-speculation: verify and draft in one forward (ours; the verify half is that of Fast-dVLM, arXiv 2604.06832).

    repeat until nothing is open:
        one forward of
            trunk:    the pending rows and the standing proposal, in causal order
            children: drafts, each as if the answer were right up to its *cut*, the rows from there on masked
        accept as self-speculation does; the draft of the last cut that held is the next proposal, and what drafts of later cuts
        say of rows beyond its own goes with it

The forms differ in their cuts. Plain: the end of the proposal, which serves full acceptance; after a rejection nothing stands,
and the next forward drafts beside the one row it decides. Lagged: the frontier too, so that after a rejection a draft made from
what was kept stands at once and every forward both commits and proposes. Branches: the k rows most likely to be rejected first
too, whose drafts know the rows before them.

Shapes: `n` guessed rows, `V` vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from decoding import rows
from decoding.canvas import answer_end, require_causal, settle
from decoding.guarantees import lossless
from decoding.rules import Pick, greedy
from decoding.verify import Proposal, accept, propose
from edge.core.blockspec import BlockSpec
from edge.core.types import Canvas, Draft, Strategy

Child = tuple[int, int, Tensor]
"""(cut, stop, rows wanted): see `rows.fused`."""


@lossless
def fused(
    canvas: Canvas,
    spec: BlockSpec,
    *,
    block_size: int | None = None,
    lagged: bool = True,
    branches: int = 0,
    across: bool = False,
    pick: Pick = greedy,
) -> Strategy:
    """Blocks of `block_size` open rows (default: the checkpoint's), drafted ahead; the other options choose the form.

    Raises UnsupportedError for a checkpoint without a causal mode.
    """
    require_causal(spec, "fused")
    size = block_size or spec.block_size
    settle(canvas)
    if canvas.finish:
        return
    while True:
        f = settle(canvas)
        if canvas.finish:
            return
        start = canvas.kept
        proposal = _standing(canvas, f, size, pick)
        cuts = _cuts(canvas, proposal, f, lagged, branches)
        children = [c for cut in cuts if (c := _child(canvas, cut, proposal.end, size, across)) is not None]
        judged = proposal.judged.shape[0]
        reply = yield rows.fused(canvas, start, proposal.end, proposal.guess, proposal.want(start), children)
        assert reply is not None
        done = accept(canvas, proposal, proposal.target(reply.logits[:judged], pick), spec)
        if canvas.finish:
            return
        canvas.kept = min(done, len(canvas) - 1)  # the last row stays pending: who goes on from here predicts from it
        yield rows.keep_first(canvas.kept - start)
        canvas.draft = _chosen(children, reply.logits[judged:], done)


def _standing(canvas: Canvas, frontier: int, size: int, pick: Pick) -> Proposal:
    """The proposal for the rows from `frontier` on that a draft stands for without a gap, `size` open rows at most."""
    draft = canvas.draft
    nothing = torch.zeros(0, dtype=torch.long)
    if draft is None:
        return propose(canvas, nothing, frontier, torch.zeros(0, 0), pick)
    at = {int(r): n for n, r in enumerate(draft.rows)}
    last = int(draft.rows[-1]) + 1
    open_rows = (~canvas.decided[frontier:last]).nonzero().flatten() + frontier
    run: list[int] = []
    for r in open_rows.tolist():
        if r not in at or len(run) == size:
            break
        run.append(r)
    if not run:
        return propose(canvas, nothing, frontier, torch.zeros(0, 0), pick)
    end = run[-1] + 1
    while end < len(canvas) and bool(canvas.decided[end]):  # literal rows behind the last guess ride along
        end += 1
    chosen = torch.tensor(run)
    return propose(canvas, chosen, end, draft.logits[[at[r] for r in run]], pick)


def _cuts(canvas: Canvas, proposal: Proposal, frontier: int, lagged: bool, branches: int) -> list[int]:
    """Rows up to which a draft takes the proposal for granted, ascending."""
    cuts = {proposal.end}
    if lagged:
        cuts.add(frontier)
    if branches and proposal.open_rows.numel():
        cuts |= set(_doubtful(canvas, proposal, branches))
    return sorted(cuts)


def _doubtful(canvas: Canvas, proposal: Proposal, k: int) -> list[int]:
    """The k guessed rows most likely to be the first that is rejected, by the draft's own probabilities."""
    draft = canvas.draft
    assert draft is not None
    at = torch.searchsorted(draft.rows, proposal.open_rows)
    p = draft.logits[at].float().softmax(-1).gather(1, proposal.guess[proposal.open_rows, None]).flatten().clamp(1e-6, 1 - 1e-6)
    before = torch.cat([torch.ones(1), p.cumprod(0)[:-1]])
    first = before * (1 - p)
    return proposal.open_rows[first.topk(min(k, first.shape[0])).indices].tolist()


def _child(canvas: Canvas, cut: int, end: int, size: int, across: bool) -> Child | None:
    """The draft from `cut` on: the rest of the proposal's rows, or of the block behind it; `across`: `size` open rows."""
    if cut >= len(canvas):
        return None
    if across:
        open_rows = (~canvas.decided[cut:]).nonzero().flatten() + cut
        stop = int(open_rows[:size][-1]) + 1 if open_rows.numel() else cut
    else:
        stop = end if cut < end else answer_end(canvas, cut, size)
    wanted = (~canvas.decided[cut + 1 : stop]).nonzero().flatten() + cut + 1  # row `cut` itself is decided by the causal pass
    return (cut, stop, wanted) if wanted.numel() else None


def _chosen(children: list[Child], logits: Tensor, done: int) -> Draft | None:
    """The draft of the last cut that held: everything before row `done` is final. Later ones go on where it ends."""
    ends = torch.tensor([wanted.shape[0] for _, _, wanted in children]).cumsum(0).tolist()
    held = sum(cut <= done for cut, _, _ in children)
    if not held:
        return None
    rows_, logits_, last = [], [], done
    for n in range(held - 1, len(children)):
        wanted = children[n][2]
        later = wanted > last
        rows_.append(wanted[later])
        logits_.append(logits[ends[n] - wanted.shape[0] : ends[n]][later])
        last = max(last, int(wanted[-1]))
    found = Draft(torch.cat(rows_), torch.cat(logits_))
    return found if found.rows.numel() else None
