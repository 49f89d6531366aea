"""What one forward did to a canvas: pure functions of the canvas before a call, the call, and the canvas after its reply.

A strategy's own words for what it does are not asked for: kind and counts follow from the rows that were shown and from what
became of them, so every strategy is traced, those of other packages too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from edge.core.tracing import Kind, State
from edge.core.types import TRUNK, At, Call, Canvas, Keep, Reply, Strategy


@dataclass(frozen=True, slots=True)
class Effect:
    """What one forward did. Rows count from the start of the answer.

    frontier: the first open row when the call was made; drafted: predictions `At` a row, one for each branch that a row is
    drafted in; cuts: the rows that those branches begin at: each takes for granted what is shown before; states: a letter of
    `State` for every answer row; written: (row, id) decided by this forward; missed: (row, id) shown as guesses and not accepted;
    dropped: rows decided by earlier forwards that are open again, gone, or hold another token.
    """

    kind: Kind
    frontier: int
    rows: int
    drafted: int
    cuts: list[int]
    states: str
    written: list[tuple[int, int]]
    missed: list[tuple[int, int]]
    dropped: int


def watched(strategy: Strategy, canvas: Canvas, tell: Callable[[Effect], None]) -> Strategy:
    """The same strategy; `tell` hears of every forward as soon as its reply is digested."""
    answer: Reply | None = None
    call, before, told = None, canvas, snapshot(canvas)
    try:
        while True:
            try:
                request = strategy.send(answer)
            except StopIteration:
                if call is not None:
                    tell(effect(told, before, call, canvas))
                return
            if isinstance(request, Keep):
                answer = yield request
                continue
            if call is not None:
                tell(effect(told, before, call, canvas))
            before = snapshot(canvas)
            told, call = told if call is None else before, request
            answer = yield request
    finally:
        strategy.close()


def snapshot(canvas: Canvas) -> Canvas:
    """The canvas as it is now; shares no row with it."""
    rows = {name: getattr(canvas, name).clone() for name in ("tokens", "decided", "frozen")}
    return dataclasses.replace(canvas, **rows)


def effect(told: Canvas, before: Canvas, call: Call, after: Canvas) -> Effect:
    """What `call` did: `before` is the canvas it was made from, `after` the one its reply left.

    told: the canvas that was last told of. It differs from `before` at the first call alone: rows that were settled ahead of it
    are told with it.
    """
    p, end = before.prompt_len, len(after)
    guesses = _guesses(before, call)
    predicted = [int(call.position[w.row]) for w in call.want if isinstance(w, At)]
    decided, known = after.decided.tolist(), _still(told, after).tolist()
    written = [r for r in range(p, end) if decided[r] and not known[r]]
    states = [State.OPEN] * (end - p) + [State.GONE] * (len(told) - end)
    for r in predicted:
        states[r - p] = State.GUESSED if r < end else State.GONE
    for r in guesses:
        states[r - p] = State.REJECTED
    for r in range(p, end):
        if decided[r] and known[r]:
            states[r - p] = State.DECIDED
    for r, state in _decided(written, guesses, told, after).items():
        states[r - p] = state
    for r in after.frozen[p:].nonzero().flatten().tolist():
        states[r] = State.FROZEN
    return Effect(
        kind=_kind(before, call, bool(guesses), any(states[r - p] is State.NEW for r in predicted)),
        frontier=before.frontier - p,
        rows=len(call),
        drafted=len(predicted),
        cuts=sorted({int(call.position[r]) - p for r in _first_masked(call)}),
        states="".join(states),
        written=[(r - p, int(after.tokens[r])) for r in written],
        missed=[(r - p, t) for r, t in guesses.items() if states[r - p] is not State.ACCEPTED],
        dropped=_dropped(told, after),
    )


def _first_masked(call: Call) -> list[int]:
    """The first masked row of every branch that has one."""
    first: dict[int, int] = {}
    for r in call.masked.nonzero().flatten().tolist():
        first.setdefault(int(call.branch[r]), r)
    return list(first.values())


def _guesses(before: Canvas, call: Call) -> dict[int, int]:
    """Canvas row and token of what was shown on the trunk as if it were said."""
    shown = zip(call.position.tolist(), call.tokens.tolist(), call.branch.tolist(), call.masked.tolist(), strict=True)
    return {r: t for r, t, branch, masked in shown if branch == TRUNK and not masked and not bool(before.decided[r])}


def _kind(before: Canvas, call: Call, guessed: bool, denoised: bool) -> Kind:
    trunk = call.branch == TRUNK
    if denoised:
        return "denoise"
    if bool(call.masked.any()):
        return "fused" if bool((trunk & ~call.masked).any() and (call.masked & ~trunk).any()) else "draft"
    if guessed:
        return "verify"
    return "prefill" if int(call.position.min()) < before.prompt_len else "step"


def _decided(written: list[int], guesses: dict[int, int], told: Canvas, after: Canvas) -> dict[int, State]:
    """How the rows decided by this forward came to be. A guess counts up to the first that does not come true."""
    new = set(written)
    wrong = next((r for r in sorted(guesses) if r not in new or guesses[r] != int(after.tokens[r])), len(told))
    settled = _settled(new, told, after)
    out: dict[int, State] = {}
    for r in written:
        if r in settled and (r not in guesses or r > wrong):
            out[r] = State.SETTLED
        elif r not in guesses:
            out[r] = State.NEW
        else:
            out[r] = State.ACCEPTED if guesses[r] == int(after.tokens[r]) else State.CORRECTED
    return out


def _settled(new: set[int], told: Canvas, after: Canvas) -> set[int]:
    """Rows among `new` that could take one id only, given the rows before them, all of which are decided."""
    if after.constraint is None:
        return set()
    p, start = after.prompt_len, told.frontier
    cursor = after.constraint.cursor(start - p, after.tokens[p:])
    out: set[int] = set()
    for r in range(start, after.frontier):
        if cursor.over:
            break
        if r in new and cursor.ids().numel() == 1:
            out.add(r)
        cursor.step(int(after.tokens[r]))
    return out


def _still(told: Canvas, after: Canvas) -> Tensor:
    """bool [L], rows of `after` that had their token before."""
    n = len(after)
    return told.decided[:n] & after.decided & (told.tokens[:n] == after.tokens)


def _dropped(told: Canvas, after: Canvas) -> int:
    still, n = _still(told, after) & ~told.frozen[: len(after)], int((told.decided & ~told.frozen).sum())
    return n - int(still.sum())
