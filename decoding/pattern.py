r"""Regular expressions of one fixed width: literals, character classes, groups and `{n}`, one set of characters per position."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence

Position = frozenset[str]

CLASSES = {"d": string.digits, "w": string.ascii_letters + string.digits + "_"}
DIGITS = frozenset(CLASSES["d"])
LONGEST = 4096
_SPECIAL = set("\\^$.|?*+()[]{}")


class PatternError(ValueError):
    """What of a pattern is outside the supported part."""


def positions(pattern: str) -> list[Position]:
    """What may stand at each position of a string that matches as a whole. Anchors at the two ends are taken as said.

    Raises PatternError with one clause that says what is not supported, or what is malformed.
    """
    body = pattern.removeprefix("^")
    if body.endswith("$") and (len(body) - len(body[:-1].rstrip("\\"))) % 2 == 1:
        body = body[:-1]
    reader = _Reader(body)
    out = reader.sequence()
    if reader.at < len(body):
        raise PatternError(f"')' without '(' at {reader.at}")
    return out


class _Reader:
    ends = ("", ")")

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def _peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def _take(self) -> str:
        c = self._peek()
        if not c:
            raise PatternError("it ends in the middle")
        self.at += 1
        return c

    def sequence(self) -> list[Position]:
        out: list[Position] = []
        while self._peek() not in self.ends:
            one = self._one()
            out += one * self._count()
            if len(out) > LONGEST:
                raise PatternError(f"it is longer than {LONGEST} characters")
        return out

    def _one(self) -> list[Position]:
        c = self._take()
        if c == "(":
            if self.text.startswith("?:", self.at):
                self.at += 2
            elif self._peek() == "?":
                raise PatternError("groups with '?' other than '(?:'")
            inside = self.sequence()
            if self._take() != ")":
                raise PatternError("'(' without ')'")
            return inside
        if c == "[":
            return [self._class()]
        if c == "\\":
            return [self._escape()]
        if c in _SPECIAL:
            raise PatternError(f"{c!r} (only literals, classes, groups and {{n}})")
        return [frozenset(c)]

    def _escape(self) -> Position:
        c = self._take()
        if c in CLASSES:
            return frozenset(CLASSES[c])
        if c in "nrt":
            return frozenset({"n": "\n", "r": "\r", "t": "\t"}[c])
        if c.isascii() and c.isalnum():
            raise PatternError(f"'\\{c}'")
        return frozenset(c)

    def _class(self) -> Position:
        if self._peek() == "^":
            raise PatternError("'[^', a negated class")
        out: set[str] = set()
        while self._peek() != "]" or not out:
            if self._peek() == "]":
                raise PatternError("an empty class")
            low = self._escape() if (c := self._take()) == "\\" else frozenset(c)
            if self._peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self._escape() if (c := self._take()) == "\\" else frozenset(c)
                out.update(_between(low, high))
            else:
                out |= low
        self.at += 1
        return frozenset(out)

    def _count(self) -> int:
        c = self._peek()
        if c and c in "*+?":
            raise PatternError(f"{c!r}, a repetition without a fixed count")
        if c != "{":
            return 1
        end = self.text.find("}", self.at)
        digits = self.text[self.at + 1 : end] if end > 0 else ""
        if not (digits.isascii() and digits.isdigit()):
            raise PatternError(f"{self.text[self.at : end + 1 or None]!r}, a repetition without a fixed count")
        self.at = end + 1
        if self._peek() in ("{", "*", "+", "?") and self._peek():
            raise PatternError(f"{self._peek()!r} after a repetition")
        if int(digits) > LONGEST:
            raise PatternError(f"it is longer than {LONGEST} characters")
        return int(digits)


def shortest(pattern: str, *, full: bool = False) -> str | None:
    """A short string that the pattern, whatever its width, is found in; None for one that is not understood.

    full: one with everything that may be left out, and the longest of all alternatives.
    """
    reader = _Shortest(pattern, full)
    try:
        found = reader.sequence()
    except PatternError:
        return None
    return "".join(min(p) for p in found) if reader.at == len(pattern) and all(found) else None


class _Shortest(_Reader):
    """Takes the fewest repetitions, or one. Anchors are nothing: where they bind, a part of it will do."""

    ends = ("", ")", "|")

    def __init__(self, text: str, full: bool) -> None:
        super().__init__(text)
        self.full = full

    def sequence(self) -> list[Position]:
        out = [super().sequence()]
        while self._peek() == "|":
            self.at += 1
            out.append(super().sequence())
        return (max if self.full else min)(out, key=len)

    def _one(self) -> list[Position]:
        c = self._peek()
        if c in ("^", "$", "."):
            self.at += 1
            return [frozenset("a")] if c == "." else []
        return super()._one()

    def _class(self) -> Position:
        if self._peek() != "^":
            return super()._class()
        self.at += 1
        return frozenset(string.ascii_letters + string.digits + " -.") - super()._class()

    def _escape(self) -> Position:
        if self._peek() and self._peek() in "sDWS":
            return frozenset({"s": " ", "D": "a", "W": " ", "S": "a"}[self._take()])
        return super()._escape()

    def _count(self) -> int:
        c = self._peek()
        if c and c in "*+?":
            self.at += 1
            return self._lazy(1 if c == "+" else 0)
        if c == "{" and "," in (inside := self.text[self.at + 1 : self.text.find("}", self.at)]):
            self.at += len(inside) + 2
            least = inside.split(",")[0]
            return self._lazy(int(least) if least.isdecimal() else 0)
        return super()._count()

    def _lazy(self, count: int) -> int:
        self.at += self._peek() == "?"
        return max(count, self.full)


def _between(low: Position, high: Position) -> Iterator[str]:
    if len(low) != 1 or len(high) != 1:
        raise PatternError("a range between classes")
    a, b = ord(next(iter(low))), ord(next(iter(high)))
    if a > b:
        raise PatternError(f"a range from {chr(a)!r} down to {chr(b)!r}")
    if b - a > 0xFFFF:
        raise PatternError("a range of more than 65536 characters")
    return (chr(c) for c in range(a, b + 1))


def signed_number(found: Sequence[Position], start: int) -> tuple[int, int] | None:
    """Digits before and behind the point of a signed number of fixed width that begins at position `start`, if one does."""

    def digits(at: int) -> int:
        n = 0
        while at + n < len(found) and found[at + n] == DIGITS:
            n += 1
        return n

    if found[start] != {"+", "-"} or not (whole := digits(start + 1)):
        return None
    point = start + 1 + whole
    return whole, digits(point + 1) if found[point : point + 1] == [{"."}] else 0
