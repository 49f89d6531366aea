"""Makes records while an engine decodes: the strategies are watched, their forwards timed and told to whoever asked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from decoding.scaffold import Scaffold
from decoding.trace import Effect, watched
from edge.core.types import Canvas, Strategy
from edge.trace.record import COUNTED, Token, TraceRecord

Trace = Callable[[TraceRecord], None]
"""What wants to hear of every forward."""


class Tracer:
    """Watches the lineages of one generation. text: token id -> what it reads."""

    def __init__(self, tell: Trace, strategy: str, text: Callable[[int], str]) -> None:
        self._tell, self._strategy, self._text = tell, strategy, text
        self._forwards: Counter[int] = Counter()  # by lineage
        self._spent_s = 0.0

    def follow(self, strategy: Strategy, canvas: Canvas, lineage: int = 0) -> Strategy:
        """The same strategy, of whose forwards records are made. To be called right before it is run."""
        last = time.perf_counter() - self._spent_s

        def tell(found: Effect) -> None:
            nonlocal last
            started = time.perf_counter()
            now = started - self._spent_s  # without what is spent on records: it is no time of a forward
            self._tell(self._record(found, canvas, lineage, (now - last) * 1e3))
            self._spent_s += time.perf_counter() - started
            last = now

        return watched(strategy, canvas, tell)

    def _record(self, found: Effect, canvas: Canvas, lineage: int, ms: float) -> TraceRecord:
        first = not self._forwards[lineage]
        self._forwards[lineage] += 1
        # lineages run in step: in every forward behind the fork each of those that still run has exactly one call
        forward = self._forwards[lineage] + (self._forwards[0] if lineage else 0)
        sections = canvas.constraint.sections if isinstance(canvas.constraint, Scaffold) else ()
        counts: dict[str, Any] = {name: found.states.count(state) for name, state in COUNTED.items()}
        return TraceRecord(
            strategy=self._strategy,
            lineage=lineage,
            forward=forward,
            kind=found.kind,
            rows=found.rows,
            drafted=found.drafted,
            cuts=tuple(found.cuts),
            dropped=found.dropped,
            section=next((s.name for s in sections if s.start <= found.frontier < s.end), None),
            sections=tuple((s.name, s.end) for s in sections),
            ms=round(ms, 3),
            states=found.states,
            written=self._tokens(_known(canvas) if first else found.written),
            missed=self._tokens(found.missed),
            **counts,
        )

    def _tokens(self, rows: list[tuple[int, int]]) -> tuple[Token, ...]:
        return tuple(Token(row, token, self._text(token)) for row, token in rows)


def _known(canvas: Canvas) -> list[tuple[int, int]]:
    p = canvas.prompt_len
    return [(r - p, int(canvas.tokens[r])) for r in range(p, len(canvas)) if bool(canvas.decided[r])]
