"""The answer filling up in a terminal while it is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from edge.core.tracing import State
from edge.trace.observe import Trace
from edge.trace.record import TraceRecord

STYLES = {
    State.FROZEN: "dim",
    State.DECIDED: "",
    State.ACCEPTED: "green",
    State.CORRECTED: "dark_orange",
    State.NEW: "blue",
    State.SETTLED: "cyan",
    State.REJECTED: "red",
    State.GUESSED: "yellow",
    State.OPEN: "dim",
}
DOT = "·"


@contextmanager
def watching(console: Console) -> Iterator[Trace]:
    """A listener that shows the answer of `console`'s terminal as it fills up, and takes it away at the end."""
    view = View()
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(record: TraceRecord) -> None:
            view.add(record)
            live.update(Group(view.answer(), view.counts()), refresh=True)

        yield show


class View:
    """What is known of an answer, from the records heard so far."""

    def __init__(self) -> None:
        self._text: dict[int, str] = {}
        self._last: TraceRecord | None = None
        self._ms: dict[int, float] = {}

    def add(self, record: TraceRecord) -> None:
        self._text |= {t.row: t.text for t in record.written}
        self._ms[record.forward] = record.ms
        self._last = record

    def answer(self) -> Text:
        """Rows as text: frozen dim, decided plain, this forward's in its colours, rejected guesses red, the rest dots."""
        out = Text()
        if self._last is None:
            return out
        missed = {t.row: t.text for t in self._last.missed}
        for row, letter in enumerate(self._last.states.rstrip(State.GONE)):
            state = State(letter)
            if state is State.REJECTED:
                shown = missed.get(row) or DOT
            elif state in (State.GUESSED, State.OPEN):
                shown = DOT
            else:
                shown = self._text.get(row, "")
            out.append(shown, style=STYLES[state])
        return out

    def counts(self) -> Text:
        if self._last is None:
            return Text()
        forwards, ms = len(self._ms), sum(self._ms.values())
        rate = self._last.said / forwards
        return Text(f"{self._last.kind}: {forwards} forwards, {rate:.2f} tokens per forward, {ms:.0f} ms", style="bold")
