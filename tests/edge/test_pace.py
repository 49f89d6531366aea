"""What a section is expected to take, and when that is too long."""

from __future__ import annotations

import pytest

from edge.pace import Pace, Stopwatch

REQUIRED = frozenset({"plan"})


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def watched(pace: Pace, end: float, looks) -> tuple[list[bool], Hands, Stopwatch]:
    hands = Hands()
    watch = Stopwatch(end, REQUIRED, pace, hands)
    out = []
    for at, forwards, note, plan in looks:
        hands.s = at
        out.append(watch.late(forwards, {"note": note, "plan": plan}))
    return out, hands, watch


def test_nothing_known_means_one_forward_a_row() -> None:
    """After the prompt a forward takes 10 ms: ten rows of the plan need 100 ms, and 20 ms are kept for the round under way."""
    looks = [(0.000, 0, 20, 10), (0.050, 1, 20, 10), (0.060, 2, 18, 10), (0.070, 3, 16, 10), (0.090, 5, 12, 10)]
    assert watched(Pace(), 0.195, looks)[0] == [False, False, False, False, True]


def test_what_was_learnt_is_used_next_time() -> None:
    pace = Pace()
    looks = [(0.000, 0, 20, 10), (0.050, 1, 20, 10), (0.060, 2, 0, 10), (0.080, 4, 0, 0)]
    _, _, watch = watched(pace, 9.0, looks)
    watch.done(4, ())
    assert pace.section_ms("plan", 10, 10) == pytest.approx(20)
    assert pace.section_ms("plan", 5, 10) == pytest.approx(10)
    assert pace.section_ms("note", 20, 20) == pytest.approx(60)  # the prompt's forward came before it
    assert watched(pace, 0.100, [(0.055, 1, 20, 10), (0.061, 2, 18, 10)])[0] == [False, True]  # 61 + 20 + 2 * 10 > 100


def test_a_skipped_section_teaches_nothing() -> None:
    pace = Pace()
    _, _, watch = watched(pace, 0.01, [(0.000, 0, 20, 10), (0.05, 1, 20, 10), (0.06, 2, 0, 0)])
    watch.done(2, ("note",))
    assert "note" not in pace.sections
