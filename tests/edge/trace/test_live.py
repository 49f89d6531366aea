"""The live view: what it shows of a record, and that it leaves the terminal as it was."""

from __future__ import annotations

import io

from rich.console import Console

import edge
from edge.trace.live import View, watching
from edge.trace.record import Token, TraceRecord
from tests.edge.test_engine import save

RECORD = {
    "strategy": "self-spec", "lineage": 0, "forward": 1, "kind": "verify", "rows": 9, "drafted": 0, "accepted": 0, "corrected": 0,
    "decided": 0, "settled": 0, "rejected": 0, "dropped": 0, "section": None, "sections": (), "ms": 2.5, "states": "",
    "cuts": (), "written": (), "missed": (),
}  # fmt: skip


def record(**changes) -> TraceRecord:
    return TraceRecord.model_validate(RECORD | changes)


def test_rows_as_text() -> None:
    view = View()
    assert view.answer().plain == ""
    written = (Token(0, 1, "{a: "), Token(1, 2, "7"), Token(5, 1, "}"))
    view.add(record(states="fa..gf---", written=written, accepted=1))
    assert view.answer().plain == "{a: 7···}"
    assert view.counts().plain == "verify: 1 forwards, 2.00 tokens per forward, 2 ms"
    written = (Token(2, 3, "x"),)
    view.add(record(forward=2, states="fdcrgf---", written=written, missed=((2, 4, "y"), (3, 5, "?!")), corrected=1, rejected=1))
    answer = view.answer()
    assert answer.plain == "{a: 7x?!·}"
    assert {answer.plain[s.start : s.end]: s.style for s in answer.spans} == {
        "{a: ": "dim", "x": "dark_orange", "?!": "red", "·": "yellow", "}": "dim",
    }  # fmt: skip
    assert view.counts().plain == "verify: 2 forwards, 1.50 tokens per forward, 5 ms"


def test_a_terminal_sees_every_forward(tmp_path) -> None:
    save(tmp_path, 1)
    out = io.StringIO()
    with watching(Console(file=out, force_terminal=True, width=100)) as show:
        g = edge.load(tmp_path).generate([1, 2, 3], max_new_tokens=9, trace=show)
    shown = out.getvalue()
    for n in range(1, g.forwards + 1):
        assert f"{n} forwards, " in shown
    assert shown.endswith("\x1b[2K"), "its lines are taken away"
