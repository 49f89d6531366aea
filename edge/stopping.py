"""Stop strings: where an answer's text ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge.core.errors import InputError
from edge.core.types import Canvas

LONGEST = 16
"""Stop strings of a request."""


def check(stop: Sequence[str]) -> tuple[str, ...]:
    """Raises InputError for stop strings that are empty, too many or no strings."""
    out = (stop,) if isinstance(stop, str) else tuple(stop)
    if len(out) > LONGEST or any(not isinstance(s, str) or not s for s in out):
        raise InputError(f"stop must be up to {LONGEST} strings that are not empty: got {list(out)!r}")
    return out


def cut(text: str, stop: Sequence[str]) -> str:
    """The text before the first stop string in it."""
    at = [n for n in (text.find(s) for s in stop) if n >= 0]
    return text[: min(at)] if at else text


class Stops:
    """Implements `decoding.ending.Ending` for one answer. text: of token ids."""

    def __init__(self, stop: Sequence[str], text: Callable[[list[int]], str]) -> None:
        self._stop, self._text = stop, text
        self._seen = 0

    def __call__(self, canvas: Canvas) -> int | None:
        tokens = canvas.answer().tolist()
        if len(tokens) == self._seen:
            return None
        if self._stops(tokens):
            return next(n for n in range(self._seen + 1, len(tokens) + 1) if self._stops(tokens[:n]))
        self._seen = len(tokens)
        return None

    def _stops(self, tokens: list[int]) -> bool:
        text = self._text(tokens)
        return any(s in text for s in self._stop)
