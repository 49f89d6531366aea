"""JSON numbers between two bounds as an automaton over characters.

A number is counted in units of its last decimal, so bounds are whole numbers: -1.25 with two decimals is -125. A way through the
digits is kept as what the digits still to come may be: an interval of their own value, which is everything or hugs one bound.
"""

from __future__ import annotations

from collections.abc import Iterable

from decoding.machine import Machine, explore
from decoding.template import JsonNumber

START = ("start",)


def number_machine(part: JsonNumber, ids: dict[str, int]) -> Machine:
    """ids: token id of each of the characters ` -.0123456789` that the number needs (one character is one token).

    Raises ValueError for a part that holds no number, which its own check excludes.
    """
    d, width = part.decimals, part.width

    def step(state: object) -> Iterable[tuple[int, object]]:
        for char, following in _step(state, part, d, width):
            yield ids[char], following

    return explore(START, step, lambda s: isinstance(s, tuple) and s[0] == "digits" and any(left == 0 for left, _, _ in s[1]))


def characters(part: JsonNumber) -> str:
    """What a number of this form is written with."""
    return "0123456789" + ("." if part.decimals else "") + ("-" if part.lowest < 0 else "") + (" " if part.fixed_width else "")


def _step(state: object, part: JsonNumber, decimals: int, width: int) -> list[tuple[str, object]]:
    """(character, next state). States: start; spaces written; sign written; digits written."""
    assert isinstance(state, tuple)
    kind = state[0]
    if kind == "digits":
        return _digit(*state[1:])
    spaces = state[1] if kind == "spaces" else 0
    out: list[tuple[str, object]] = []
    if kind != "minus" and part.fixed_width and spaces < width - 1:
        out.append((" ", ("spaces", spaces + 1)))
    if kind != "minus" and part.lowest < 0:
        out.append(("-", ("minus", spaces)))
    if kind == "minus":
        low, high, taken = max(1, -part.highest), -part.lowest, state[1] + 1
    else:
        low, high, taken = max(0, part.lowest), part.highest, spaces
    # With a fixed width the first digit says how many there are; otherwise any count that fits the bounds may follow.
    room = width - taken - (decimals > 0)
    longest = len(str(high)) if high > 0 else 1
    counts = [room] if part.fixed_width else range(decimals + 1, max(longest, decimals + 1) + 1)
    return out + _first_digits(low, high, [n for n in counts if n > decimals], decimals)


def _first_digits(low: int, high: int, counts: list[int], decimals: int) -> list[tuple[str, object]]:
    """The first digit of a number of any of `counts` digits, all counts followed at once."""
    if low > high:
        return []
    out: dict[str, list[tuple[int, int, int]]] = {}
    for count in counts:
        rest = 10 ** (count - 1)
        for digit in range(10):
            if digit == 0 and count > decimals + 1:
                continue  # no leading zero before another whole digit
            a, b = max(low - digit * rest, 0), min(high - digit * rest, rest - 1)
            if a <= b:
                out.setdefault(str(digit), []).append((count - 1, a, b))
    return [(c, ("digits", tuple(ways), decimals, False)) for c, ways in out.items()]


def _digit(ways: tuple[tuple[int, int, int], ...], decimals: int, pointed: bool) -> list[tuple[str, object]]:
    """ways: (digits still to come, least and greatest value of them). The point comes when `decimals` digits are left."""
    out: dict[str, list[tuple[int, int, int]]] = {}
    here: list[tuple[str, object]] = []
    at_point = tuple(w for w in ways if w[0] == decimals) if decimals and not pointed else ()
    if at_point:
        here.append((".", ("digits", at_point, decimals, True)))
    for left, a, b in ways:
        if left == 0 or (left == decimals and decimals and not pointed):
            continue
        rest = 10 ** (left - 1)
        for digit in range(a // rest, b // rest + 1):
            low, high = max(a - digit * rest, 0), min(b - digit * rest, rest - 1)
            if low <= high:
                out.setdefault(str(digit), []).append((left - 1, low, high))
    return here + [(c, ("digits", tuple(w), decimals, pointed)) for c, w in out.items()]
