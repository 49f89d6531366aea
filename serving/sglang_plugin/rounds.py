"""Rounds of several lineages in common forwards.

SGLang computes one block of rows per request, all of them seeing each other both ways or all in causal order. So the calls that the
lineages wait for are taken in two groups a step, one forward each, until every lineage has completed a round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edge.core.blockspec import BlockSpec
from edge.core.errors import UnsupportedError
from edge.core.types import After, Call, Reply
from serving.sglang_plugin.checkpoint import Checkpoint
from serving.sglang_plugin.lineage import Lineage


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one request in a forward.

    number: of the request in the batch; start: its first row, counted from the rows kept at the beginning of the round; tokens:
    int64 [R]; want: int64 [W], the rows whose output is asked for.
    """

    number: int
    start: int
    tokens: Tensor
    want: Tensor


Forward = Callable[[Sequence[Rows], bool], list[Tensor]]
"""(rows of every request that takes part, whether in causal order) -> float [W, V] of each."""


def play(lineages: Sequence[Lineage], forward: Forward, checkpoint: Checkpoint) -> None:
    """One round of every lineage that has not ended: from where it stands to where rows of it become permanent, or its end."""
    spec, begun = checkpoint.spec, [lineage.kept for lineage in lineages]
    for lineage in lineages:
        lineage.fit(checkpoint.rows)
    waiting = {n: lineage.call for n, lineage in enumerate(lineages) if lineage.call is not None}
    while waiting:
        for causal in (False, True):
            group = {n: call for n, call in waiting.items() if _causal(call) is causal}
            if not group:
                continue
            rows = [_rows(n, call, begun[n], spec) for n, call in group.items()]
            for r, logits in zip(rows, forward(rows, causal), strict=True):
                lineage = lineages[r.number]
                lineage.forwards += 1
                completed = lineage.advance(Reply(allowed(logits, spec, checkpoint.vocab_size)))
                if completed or lineage.call is None:
                    del waiting[r.number]
                else:
                    waiting[r.number] = lineage.call


def allowed(logits: Tensor, spec: BlockSpec, vocab: int) -> Tensor:
    """Logits [..., V] as the embedded engine gives them: mask id and unused ids -inf, on the CPU, in float32 or better."""
    out = logits.to("cpu", torch.promote_types(logits.dtype, torch.float32), copy=True)
    out[..., spec.mask_token_id] = float("-inf")
    out[..., min(spec.vocab_limit or vocab, vocab) :] = float("-inf")
    return out


def _causal(call: Call) -> bool:
    """Whether a call's rows are in causal order; else they see each other both ways. A single row is either, taken as causal."""
    first = int(call.position[0])
    if not torch.equal(call.position, torch.arange(first, first + len(call))) or len(set(call.branch.tolist())) != 1:
        raise UnsupportedError("SGLang runs one block of consecutive rows per request; this strategy asks for branches or gaps")
    if torch.equal(call.order, call.position):
        return True
    if bool((call.order == call.order[0]).all()):
        return False
    raise UnsupportedError("SGLang runs a block's rows all in causal order or all both ways; this strategy mixes them")


def _rows(number: int, call: Call, kept: int, spec: BlockSpec) -> Rows:
    want = []
    for w in call.want:
        row = w.row if isinstance(w, After) or spec.draft_shift == 0 else w.row - 1
        if row < 0:
            raise RuntimeError("internal error: the first row of a call is wanted `At` with label shift 1")
        want.append(row)
    tokens = call.tokens.masked_fill(call.masked, spec.mask_token_id)
    return Rows(number, int(call.position[0]) - kept, tokens, torch.tensor(want, dtype=torch.long))
