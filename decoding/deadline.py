"""Deadlines: when time runs short, optional sections are closed and decoding goes straight to the required ones (ours; the section
skipping that Fast-dDrive's ordered sections, arXiv 2605.23163, make possible).

Any strategy can be hurried, because all its state is in the canvas: between two rounds it is dropped, rows of optional sections are
decided, and a fresh one goes on from there. A round under way is never cut, so what comes out is always valid.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from decoding import rows
from decoding.canvas import choose, decide, given, prefill
from decoding.flow import Flow
from decoding.grammar import GrammarRows
from decoding.rules import Pick, restrict
from decoding.scaffold import Scaffold
from edge.core.blockspec import BlockSpec
from edge.core.types import At, Call, Canvas, Keep, Reply, Strategy


class Clock(Protocol):
    """What a deadline is measured by."""

    def late(self, forwards: int, open_rows: Mapping[str, int]) -> bool:
        """Whether decoding on would miss the deadline. forwards: passes so far; open_rows: by section, in answer order."""
        ...


@dataclass(frozen=True, slots=True)
class ForwardBudget:
    """A deadline in forwards, for hosts without a clock.

    required: sections that are never closed; per_row: passes that an open row may take at worst (`self-spec`: two, a draft and a
    verification that rejects it; `ar` and `fused`: one); spare: passes of the round under way, of the prompt and of closing.
    """

    forwards: int
    required: frozenset[str]
    per_row: int = 2
    spare: int = 3

    def late(self, forwards: int, open_rows: Mapping[str, int]) -> bool:
        needed = sum(n for name, n in open_rows.items() if name in self.required)
        return forwards + self.per_row * needed + self.spare > self.forwards


def hurried(
    start: Callable[[], Strategy], canvas: Canvas, spec: BlockSpec, clock: Clock, optional: frozenset[str], pick: Pick
) -> Strategy:
    """The strategy that `start` makes on `canvas`, with the `optional` sections closed once `clock` says that it is late.

    Free text has no sections: it ends there. An answer that follows a grammar has none either: it is given no more rows than it
    needs to end, which may take some more forwards.
    """
    strategy, forwards, late, cut = start(), 0, False, False
    asked: tuple[int, int] | None = None
    try:
        request = next(strategy)
        while True:
            if isinstance(request, Keep):
                yield request
                request = strategy.send(None)
                continue
            place = (canvas.kept, int(canvas.decided.sum()))
            if place != asked:  # in the middle of a round nothing has changed: let it finish
                asked = place
                late = clock.late(forwards, open_rows(canvas)) or late
                if late and canvas.constraint is None:
                    _stop(canvas)
                    return
                if late and not cut and isinstance(canvas.constraint, GrammarRows):
                    strategy.close()
                    _cut_short(canvas, canvas.constraint)
                    cut, strategy = True, start()
                    request = next(strategy)
                    continue
                if late and closable(canvas, optional):
                    strategy.close()
                    forwards += yield from close(canvas, spec, optional, pick)
                    strategy = start()
                    request = next(strategy)
                    continue
            answer = yield request
            forwards += 1
            request = strategy.send(answer)
    except StopIteration:
        canvas.finish = "deadline" if cut and canvas.finish == "stop" else canvas.finish
    finally:
        strategy.close()


def open_rows(canvas: Canvas) -> dict[str, int]:
    """Undecided rows of every section, in answer order; 0 where there is nothing left to do. Sections of a flow: at most."""
    p, constraint = canvas.prompt_len, canvas.constraint
    if isinstance(constraint, Scaffold):
        open_ = ~constraint.frozen
        open_[: len(canvas) - p] &= ~canvas.decided[p:]
        return {s.name: int(open_[s.start : s.end].sum()) for s in constraint.sections}
    if isinstance(constraint, Flow):
        cursor = constraint.cursor(canvas.frontier - p, canvas.tokens[p:])
        out = dict.fromkeys(constraint.section, 0)
        for item, name in zip(constraint.items[cursor.at :], constraint.section[cursor.at :], strict=True):
            out[name] += 0 if isinstance(item, int) else item.width
        return out
    return {}


def closable(canvas: Canvas, optional: frozenset[str]) -> bool:
    """Whether `close` would decide a row."""
    if isinstance(canvas.constraint, Flow):
        return _ending(canvas, canvas.constraint, optional) is not None
    return any(n and name in optional for name, n in open_rows(canvas).items())


def close(canvas: Canvas, spec: BlockSpec, optional: frozenset[str], pick: Pick) -> Generator[Call | Keep, Reply | None, int]:
    """Decide what is open in the `optional` sections, and remember them in `canvas.skipped`. Returns the forwards it took.

    Rows that may hold padding are closed with it. Others (a choice, a number) take the model's guess in one bidirectional pass, so
    that what follows does not hang on a value that nobody predicted. In a flow, which has no padding, free text ends where it is;
    other values are decoded as ever.
    """
    if isinstance(canvas.constraint, Flow):
        _end_text(canvas, canvas.constraint, optional, spec)
        return 0
    _skip(canvas, (n for n, r in open_rows(canvas).items() if r and n in optional))
    scaffold = canvas.constraint
    assert isinstance(scaffold, Scaffold)
    p, forwards = canvas.prompt_len, 0
    places = [r for s in scaffold.sections if s.name in optional for r in range(p + s.start, min(p + s.end, len(canvas)))]
    if (kept := canvas.kept) < p:
        logits = yield from prefill(canvas, spec)
        forwards += canvas.kept > kept
        if logits is not None:
            decide(canvas, canvas.kept, choose(canvas, canvas.kept, logits, pick), spec)
    rest: list[int] = []
    for row in (r for r in places if not canvas.decided[r]):
        if scaffold.pad_token_id is not None and bool((given(canvas, row) == scaffold.pad_token_id).any()):
            decide(canvas, row, scaffold.pad_token_id, spec)
        else:
            rest.append(row)
    if rest:
        start = canvas.kept
        reply = yield rows.block(canvas, start, rest[-1] + 1, tuple(At(r - start) for r in rest))
        assert reply is not None
        forwards += 1
        for row, logits in zip(rest, reply.logits, strict=True):
            picked = pick(restrict(logits[None], [given(canvas, row)]), torch.tensor([row]))
            decide(canvas, row, int(picked[0]), spec)
    return forwards


def _stop(canvas: Canvas) -> None:
    _end(canvas, canvas.frontier)
    canvas.finish = "deadline"


def _cut_short(canvas: Canvas, grammar: GrammarRows) -> None:
    p = canvas.prompt_len
    canvas.constraint = grammar.hurried(canvas.frontier - p, canvas.tokens[p:])
    _end(canvas, p + len(canvas.constraint))


def _end(canvas: Canvas, end: int) -> None:
    canvas.tokens, canvas.decided, canvas.frozen = (t[:end] for t in (canvas.tokens, canvas.decided, canvas.frozen))


def _skip(canvas: Canvas, names: Iterable[str]) -> None:
    canvas.skipped = tuple(dict.fromkeys([*canvas.skipped, *names]))


def _ending(canvas: Canvas, flow: Flow, optional: frozenset[str]) -> tuple[str, int] | None:
    """The section at the frontier and the literal that ends it there, if it is optional free text and may end."""
    p, f = canvas.prompt_len, canvas.frontier
    return flow.cursor(f - p, canvas.tokens[p:]).ending(optional) if f < len(canvas) else None


def _end_text(canvas: Canvas, flow: Flow, optional: frozenset[str], spec: BlockSpec) -> None:
    if (ending := _ending(canvas, flow, optional)) is not None:
        _skip(canvas, [ending[0]])
        decide(canvas, canvas.frontier, ending[1], spec)
