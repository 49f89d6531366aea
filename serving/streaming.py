"""Text of an answer as it grows: committed tokens only, and nothing that a stop string or half a character may yet take back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

BROKEN = "�"
"""What half of a multi-byte character decodes to."""


class Growing:
    """What has been sent of one choice, and what may be sent next. text: of token ids."""

    def __init__(self, text: Callable[[list[int]], str], stop: Sequence[str]) -> None:
        self._text, self._stop = text, stop
        self._sent = 0

    def more(self, tokens: list[int]) -> str:
        """New text that is certain, given the tokens decided so far."""
        return self._take(certain(self._text(tokens), self._stop))

    def rest(self, text: str) -> str:
        """What is left of the finished text."""
        return self._take(text)

    @property
    def fresh(self) -> bool:
        """Whether nothing was sent yet."""
        return self._sent == 0

    def _take(self, text: str) -> str:
        new = text[self._sent :]
        self._sent += len(new)
        return new


def certain(text: str, stop: Sequence[str]) -> str:
    """The beginning of `text` that stays whatever follows: before a stop string, the beginning of one, and a broken character."""
    end = len(text.rstrip(BROKEN))
    for s in stop:
        found = text.find(s)
        if found >= 0:
            end = min(end, found)
        for n in range(1, len(s)):
            if text.endswith(s[:n]):
                end = min(end, len(text) - n)
    return text[:end]
