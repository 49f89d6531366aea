"""A hole with few values as an acyclic automaton over token ids: choices, fixed-width text, numbers.

State 0 is the start. Every state lies on a way to an accepted end, so a walk that only takes allowed ids never gets stuck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Moves = dict[int, int]
"""Token id to next state."""


@dataclass(frozen=True, slots=True)
class Machine:
    """moves[s]: what may follow in state s; ends[s]: whether a value may end there; least, width: tokens of a value."""

    moves: tuple[Moves, ...]
    ends: tuple[bool, ...]
    least: int
    width: int

    @property
    def exact(self) -> bool:
        """Whether every value takes `width` tokens."""
        return self.least == self.width

    def between(self, tokens: Sequence[int | None]) -> list[set[int]]:
        """Ids that each of `width` rows may take beside the rows that are given (None: open), by going from both ends.

        For exact machines alone. A row that is given has itself, when the given rows fit together; no row has any when they do not.
        """
        layers: list[set[int]] = [{0}]
        for given in tokens:
            layers.append({n for s in layers[-1] for t, n in self.moves[s].items() if given is None or t == given})
        out: list[set[int]] = []
        alive = {s for s in layers[-1] if self.ends[s]}
        for row in range(len(tokens) - 1, -1, -1):
            given = tokens[row]
            ways = [(s, t) for s in layers[row] for t, n in self.moves[s].items() if n in alive and (given is None or t == given)]
            out.append({t for _, t in ways})
            alive = {s for s, _ in ways}
        return out[::-1]


def explore(start: object, step: Callable[[object], Iterable[tuple[int, object]]], ends: Callable[[object], bool]) -> Machine:
    """The automaton reached from `start`: `step` gives (token id, next state), `ends` whether a value may end. States are
    hashable and never repeat along a way. Ways that lead to no end are cut off. Raises ValueError when nothing is accepted.
    """
    number, order, ways = {start: 0}, [start], []
    for state in order:  # grows while it is walked through
        ways.append([])
        for token, following in step(state):
            if following not in number:
                number[following] = len(order)
                order.append(following)
            ways[-1].append((token, number[following]))
    final = [ends(s) for s in order]
    spans: dict[int, tuple[int, int] | None] = {}  # fewest and most tokens to an end; None: there is none
    stack = [0]
    while stack:
        n = stack[-1]
        missing = [m for _, m in ways[n] if m not in spans]
        if missing:
            stack += missing
            continue
        stack.pop()
        found = [span for _, m in ways[n] if (span := spans[m]) is not None]
        found = [(a + 1, b + 1) for a, b in found] + [(0, 0)] * final[n]
        spans[n] = (min(a for a, _ in found), max(b for _, b in found)) if found else None
    span = spans[0]
    if span is None:
        raise ValueError("the automaton accepts nothing")
    moves = tuple({t: m for t, m in w if spans.get(m) is not None} for w in ways)
    return Machine(moves, tuple(final), *span)


def alternatives(options: Sequence[Sequence[int]]) -> Machine:
    """One of a few token sequences. Raises ValueError when there is none."""
    tree: dict[tuple[int, ...], set[int]] = {}
    whole = {tuple(o) for o in options}
    for o in whole:
        for n, token in enumerate(o):
            tree.setdefault(o[:n], set()).add(token)

    def step(state: object) -> Iterable[tuple[int, object]]:
        assert isinstance(state, tuple)
        return [(t, (*state, t)) for t in sorted(tree.get(state, ()))]

    return explore((), step, lambda s: s in whole)


def in_turn(classes: Sequence[Iterable[int]]) -> Machine:
    """One id of each class in turn."""
    moves = [dict.fromkeys(ids, n + 1) for n, ids in enumerate(classes)]
    return Machine((*moves, {}), (*(False for _ in moves), True), len(moves), len(moves))


def padded(machine: Machine, pad: int) -> Machine:
    """The same values, filled up with padding ids to the width of the longest."""
    if machine.exact:
        return machine
    width, filling = machine.width, -1

    def step(state: object) -> Iterable[tuple[int, object]]:
        assert isinstance(state, tuple)
        s, n = state
        if n == width:
            return []
        ways: list[tuple[int, object]] = []
        if s != filling:
            ways = [(t, (following, n + 1)) for t, following in machine.moves[s].items()]
        if s == filling or machine.ends[s]:
            ways.append((pad, (filling, n + 1)))
        return ways

    def ends(state: object) -> bool:
        assert isinstance(state, tuple)
        s, n = state
        return n == width and (s == filling or machine.ends[s])

    return explore((0, 0), step, ends)
