"""The short way to the end of an answer: what has still to be written before the grammar lets it stop.

A best-first search over the matcher, which is quick (some microseconds a step). It tries the bytes that close something first, so
the way it finds is short, though not always the shortest. Nothing here looks at a schema.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from decoding.vocabulary import Vocabulary

Way = tuple[int, ...]

STEPS = 20_000
"""Places that a search looks at before it gives up: some tenths of a second."""
LONGEST = 2048
"""Tokens of a way. A longer one leads in circles."""
_FORCED, _QUOTE, _CLOSES, _DIGIT, _OPENS, _FILLS, _OTHER = 1, 4, 4, 8, 12, 12, 32
_PRICES = {b'"': _QUOTE, b"]": _CLOSES, b"}": _CLOSES, b"[": _OPENS, b"{": _OPENS} | {b"%d" % d: _DIGIT for d in range(10)}
"""A dear token is tried late. Not its length alone decides: else every string would be tried before the quote is followed up."""
_LETTERS, _SOME = 16, 16


class Closing:
    """Ways to the end for one vocabulary. hints: the insides of strings that a pattern may need, whole or their last part."""

    def __init__(self, vocabulary: Vocabulary, hints: Iterable[str] = ()) -> None:
        self.vocabulary = vocabulary
        self._singles = {p[0]: i for i, p in enumerate(vocabulary.pieces) if p is not None and len(p) == 1}
        self._alone = np.array([self._singles[b] for b in sorted(self._singles)], dtype=np.int64)
        written = [(json.dumps(h, ensure_ascii=False)[1:]).encode() for h in hints]
        self._hints = [tuple(self._singles[b] for b in w) for w in written if all(b in self._singles for b in w)]

    def way(self, matcher: Any, old: Way = ()) -> Way | None:
        """Tokens from the matcher's place to the end, the stop token last; None when none was found.

        old: a way from the place before this one. Where it can be joined the search is over: most tokens are a small detour.
        """
        stop = self.vocabulary.stop
        queue: list[tuple[int, int, Any, Way, Way]] = [(0, 0, matcher, (), ())]
        seen: set[tuple[int, bytes]] = set()
        pushed = 0
        for _ in range(STEPS):
            if not queue:
                return None
            cost, _, before, new, path = heapq.heappop(queue)
            place, path = before.deep_copy(), path + new
            if not place.consume_tokens(list(new)) or len(path) > LONGEST:
                continue
            if place.is_accepting():
                return (*path, stop)
            if (rest := _joined(place, old)) is not None:
                return path + rest
            mask = place.compute_bitmask()
            if (len(path), mask) in seen or place.is_error():
                continue
            seen.add((len(path), mask))
            moves = [(price, (i,)) for price, i in self._moves(mask)]
            hinted = [h for whole in self._hints if (h := _joined(place, whole)) is not None]
            for price, following in moves + [(len(h) * _FORCED, h) for h in hinted if len(h) > 1]:
                pushed += 1
                heapq.heappush(queue, (cost + price, pushed, place, following, path))
        return None

    def _moves(self, mask: bytes) -> list[tuple[int, int]]:
        """(price, id) of the tokens worth trying: single bytes, and letters to fill a string that has to be long."""
        single, filler = (ids[_has(mask, ids)].tolist() for ids in (self._alone, self._fillers))
        if single and (self.vocabulary.pieces[single[0]] or b"")[0] >= 0x80:
            single = single[:1]  # in the middle of a character: any will do that may stand
        found = single + filler or self.vocabulary.ids(mask).tolist()[:_SOME]
        if len(found) == 1:
            return [(_FORCED, found[0])]
        if filler:  # in a string, where brackets and digits close nothing
            return [(_FILLS, i) for i in filler] + [(_QUOTE if self.vocabulary.pieces[i] == b'"' else _OTHER, i) for i in single]
        return [(_PRICES.get(self.vocabulary.pieces[i] or b"", _OTHER), i) for i in found]

    @cached_property
    def _fillers(self) -> np.ndarray:
        """For every length of two letters or more the first token that has it, the longest first."""
        found: dict[int, int] = {}
        for i, piece in enumerate(self.vocabulary.pieces):
            if piece is not None and 1 < len(piece) <= _LETTERS and piece.isalpha():
                found.setdefault(len(piece), i)
        return np.array([found[n] for n in sorted(found, reverse=True)], dtype=np.int64)


def _joined(place: Any, old: Way) -> Way | None:
    """The shortest end of `old` that leads on from here."""
    ends = (old[k:] for k in range(len(old) - 1, -1, -1))
    return next((end for end in ends if place.validate_tokens(list(end)) == len(end)), None)


def _has(mask: bytes, ids: np.ndarray) -> np.ndarray:
    """Which of `ids` a mask of one bit for each id allows: bool [n]."""
    return (np.frombuffer(mask, np.uint8)[ids >> 3] >> (ids & 7) & 1).astype(bool)
