"""How long sections take: what a deadline in milliseconds is judged by.

Times of earlier answers are remembered by section; the worst of the last few is what a section is expected to take. Where nothing
is known yet, every open row is taken for a forward of its own, as in causal decoding.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from decoding.deadline import Clock, ForwardBudget
from decoding.flow import Flow
from decoding.grammar import Grammar
from decoding.scaffold import Scaffold
from edge.core.errors import InputError, UnknownNameError

REMEMBERED = 32
"""Answers whose times count."""


@dataclass(slots=True)
class Pace:
    """Milliseconds that whole sections took, and forwards; of one strategy and one schema."""

    sections: dict[str, deque[float]] = field(default_factory=dict)
    steps: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def section_ms(self, name: str, rows: int, of: int) -> float:
        """What `rows` of a section's `of` rows may take: at worst what they took before, in proportion."""
        known = self.sections.get(name)
        if known:
            return max(known) * rows / of if of else 0.0
        return rows * self.step_ms

    @property
    def step_ms(self) -> float:
        """The slowest of the last forwards; 0 while there was none."""
        return max(self.steps, default=0.0)

    def learn(self, name: str, ms: float) -> None:
        self.sections.setdefault(name, deque(maxlen=REMEMBERED)).append(ms)


class Stopwatch:
    """Implements `decoding.deadline.Clock` by the time that is left. end: of `now()`, in seconds."""

    def __init__(self, end: float, required: frozenset[str], pace: Pace, now: Callable[[], float] = time.perf_counter) -> None:
        self._end, self._required, self._pace, self._now = end, required, pace, now
        self._last: tuple[float, int, dict[str, int]] | None = None
        self._whole: dict[str, int] = {}
        self._spent: dict[str, float] = {}

    def late(self, forwards: int, open_rows: Mapping[str, int]) -> bool:
        now = self._now()
        self._charge(now, forwards)
        if self._last is None:
            self._whole = dict(open_rows)
        self._last = now, forwards, dict(open_rows)
        needed = sum(self._pace.section_ms(s, n, self._whole[s]) for s, n in open_rows.items() if s in self._required and n)
        return now + (needed + 2 * self._pace.step_ms) / 1e3 > self._end

    def _charge(self, now: float, forwards: int) -> None:
        """Book the time since the last look on the section that was under way."""
        if self._last is None:
            return
        before, passes, rows = self._last
        ms = (now - before) * 1e3
        under_way = next((s for s, n in rows.items() if n), None)
        if under_way is not None:
            self._spent[under_way] = self._spent.get(under_way, 0.0) + ms
        if forwards > passes > 0:  # the first forward is the prompt's and tells nothing of the others
            self._pace.steps.append(ms / (forwards - passes))

    def done(self, forwards: int, skipped: Sequence[str]) -> None:
        """The answer is complete: remember what its sections took."""
        self._charge(self._now(), forwards)
        for name, ms in self._spent.items():
            if name not in skipped:
                self._pace.learn(name, ms)


@dataclass(frozen=True, slots=True)
class Hurry:
    """What may be left out of an answer, and who says when."""

    optional: frozenset[str]
    clock: Clock

    def done(self, forwards: int, skipped: Sequence[str]) -> None:
        if isinstance(self.clock, Stopwatch):
            self.clock.done(forwards, skipped)


def hurry(
    constraint: Scaffold | Flow | Grammar | None,
    sections: Sequence[str] | None,
    deadline_ms: float | None,
    start: float,
    pace: Pace,
) -> Hurry | None:
    """What a request's `sections` and `deadline_ms` (from `start`, seconds of `time.perf_counter`) ask for; None for neither.

    sections: those that have to be there; by default all but those that are free text alone. The others are left out at once
    when there is no deadline. Raises InputError for a negative deadline or sections without a schema, UnknownNameError for one
    that the schema does not have.
    """
    if deadline_ms is not None and not deadline_ms >= 0:
        raise InputError(f"deadline_ms must be 0 or more: got {deadline_ms}")
    if sections is None and deadline_ms is None:
        return None
    if constraint is None or isinstance(constraint, Grammar):
        if sections is not None:
            raise InputError("sections are those of a schema whose answers have a longest form: give one")
        assert deadline_ms is not None
        return Hurry(frozenset(), Stopwatch(start + deadline_ms / 1e3, frozenset(), pace))
    names = section_names(constraint)
    for name in sections or ():
        if name not in names:
            raise UnknownNameError("section", name, names)
    required = frozenset(names) - _free_text(constraint) if sections is None else frozenset(sections)
    optional = frozenset(names) - required
    if deadline_ms is None:
        return Hurry(optional, ForwardBudget(0, required))
    return Hurry(optional, Stopwatch(start + deadline_ms / 1e3, required, pace))


def section_names(constraint: Scaffold | Flow | Grammar | None) -> tuple[str, ...]:
    """In answer order; none for free text, and for a grammar."""
    return () if constraint is None or isinstance(constraint, Grammar) else tuple(s.name for s in constraint.template.sections)


def _free_text(constraint: Scaffold | Flow) -> frozenset[str]:
    """Sections whose every value is free text."""
    kinds = {s.name: {p.kind for p in s.parts} - {"text"} for s in constraint.template.sections}
    return frozenset(name for name, found in kinds.items() if found == {"free"})
