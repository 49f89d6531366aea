"""A grammar as a constraint: token by token, `llguidance` says what may follow. For schemas whose answers have no longest form.

The answer has as many rows as the request allows. So that it ends within them, every place knows a way to the end, and where the
rows left are hardly more than it needs, only what still leaves room for a way is allowed: the answer is closed, not cut. That holds
as long as one token adds no more to the way than the grammar's `reserve`, and a way is found; should it fail, the rows run out, the
answer ends with "length" and is no JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from decoding.closing import Closing, Way
from decoding.vocabulary import Vocabulary
from edge.core.errors import InputError, UnsupportedError

FEW = 128
"""Tokens that are each followed to the end where rows are short: the first that may stand, in byte-level vocabularies the letters
and signs of ASCII. The others may not stand there.
"""


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar for answers of any length. matcher: at the beginning of one; way: ids of a short one; reserve: rows that one token
    adds to the way to the end at most.
    """

    closing: Closing
    matcher: Any
    way: Way
    reserve: int

    @property
    def vocabulary(self) -> Vocabulary:
        return self.closing.vocabulary

    def within(self, rows: int) -> GrammarRows:
        """The constraint of an answer of at most `rows` rows. Raises InputError when no answer is known that has so few."""
        if rows < len(self.way):
            raise InputError(f"an answer to the schema may need {len(self.way)} tokens: max_new_tokens is {rows}; raise it")
        return GrammarRows(self, rows)


@dataclass(slots=True)
class Place:
    """Behind `n` tokens of an answer. way: the last that was found; most: what the way from here has at most; sure: `way` leads on
    from here, else it is far from mattering; lost: behind a token that may not stand.
    """

    n: int
    matcher: Any = None
    way: Way = ()
    most: int = 0
    sure: bool = False
    over: bool = False
    lost: bool = False
    ids: Tensor | None = None
    next: dict[int, Place] = field(default_factory=dict)


class GrammarRows:
    """Implements `edge.core.types.Constraint`. For one answer: all places that were looked at are remembered.

    said: leading rows that were decided before it was known that there are so few; they may be what they are.
    """

    def __init__(self, grammar: Grammar, rows: int, said: int = 0) -> None:
        self.grammar, self.rows, self.said = grammar, rows, said
        self._first = Place(0, grammar.matcher, grammar.way, len(grammar.way), True)
        self._last = torch.zeros(0, dtype=torch.long), self._first
        self._seen: dict[bytes, Tensor] = {}

    def __len__(self) -> int:
        return self.rows

    def cursor(self, start: int, tokens: Tensor) -> GrammarCursor:
        known, place = self._last
        m = known.shape[0]
        if m > start or not torch.equal(known, tokens[:m]):
            m, place = 0, self._first
        for t in tokens[m:start].tolist():
            place = self.behind(place, t)
        self._last = tokens[:start].clone(), place
        return GrammarCursor(self, place)

    def allowed_given(self, row: int, tokens: Tensor, decided: Tensor) -> Tensor:
        """Only the first undecided row can be judged: where the others lie in the answer is not known before it."""
        if not bool(decided[:row].all()):
            return torch.zeros(0, dtype=torch.long)
        cursor = self.cursor(row, tokens)
        return torch.zeros(0, dtype=torch.long) if cursor.over else cursor.ids()

    def ahead(self, row: int, tokens: Tensor) -> list[tuple[int, int]]:
        return []

    def open_rows(self, tokens: Tensor) -> tuple[int, int]:
        """(rows where the model had a choice, 0: there is no padding) among answer rows int64 [n]."""
        place, count = self._first, 0
        for t in tokens.tolist():
            count += self.ids(place).numel() > 1
            place = self.behind(place, t)
        return count, 0

    def hurried(self, start: int, tokens: Tensor) -> GrammarRows:
        """The same with no more rows behind the first `start` than a way to the end takes, and `reserve`.

        So values are the model's own still, but what may go on for long ends soon. As it is where no way is found.
        """
        place = self.cursor(start, tokens).place
        way = place.way if place.sure or place.over or place.lost else self.grammar.closing.way(place.matcher, place.way)
        fewer = self.rows if way is None else start + len(way) + self.grammar.reserve
        return GrammarRows(self.grammar, min(self.rows, fewer), start)

    # --- places -----------------------------------------------------------------------------------------------------------

    def behind(self, place: Place, token: int) -> Place:
        if place.lost or token in place.next:
            return place.next.get(token, place)
        if place.over or not self.allows(place, token):
            following = Place(place.n + 1, lost=True)
        elif token == self.grammar.vocabulary.stop:
            following = Place(place.n + 1, over=True)
        else:
            following = self._follow(place, token)
        place.next[token] = following
        return following

    def _follow(self, place: Place, token: int) -> Place:
        """The place behind a token that goes on. The way from there is looked for only where rows may soon be short."""
        n, matcher, reserve = place.n + 1, place.matcher.deep_copy(), self.grammar.reserve
        matcher.consume_token(token)
        if place.sure and token == place.way[0]:
            return Place(n, matcher, place.way[1:], len(place.way) - 1, True)
        if self.rows - n > place.most + 2 * reserve:
            return Place(n, matcher, place.way, place.most + reserve)
        way = self.grammar.closing.way(matcher, place.way)
        return Place(n, matcher, place.way, self.rows) if way is None else Place(n, matcher, way, len(way), True)

    def ids(self, place: Place) -> Tensor:
        if place.over or place.lost:
            return torch.arange(self.grammar.vocabulary.size)
        if place.ids is None:
            ids, left = self._mask(place.matcher), self.rows - place.n
            short = place.n >= self.said and place.sure and len(place.way) <= left <= len(place.way) + self.grammar.reserve
            place.ids = self._fitting(place, ids, left) if short else ids
        return place.ids

    def allows(self, place: Place, token: int) -> bool:
        if place.over or place.lost:
            return True
        ids = self.ids(place)
        at = int(torch.searchsorted(ids, token))
        return at < ids.numel() and int(ids[at]) == token

    def _mask(self, matcher: Any) -> Tensor:
        mask = matcher.compute_bitmask()
        if matcher.is_error():
            raise UnsupportedError(f"the grammar of the schema gave up: {matcher.get_error().splitlines()[0]}")
        if mask not in self._seen:
            self._seen[mask] = self.grammar.vocabulary.ids(mask)
        return self._seen[mask]

    def _fitting(self, place: Place, ids: Tensor, left: int) -> Tensor:
        """Those of `ids` behind which the rows left still hold a way to the end. That the way itself begins with always does."""
        following = [t for t in ids[:FEW].tolist() if t != place.way[0] and self._leads_on(place, t, left)]
        return torch.tensor(sorted([place.way[0], *following]))

    def _leads_on(self, place: Place, token: int, left: int) -> bool:
        """Whether behind `token` a way to the end is found that fits."""
        if token == self.grammar.vocabulary.stop:
            return True
        ahead = [token, *place.way]
        if len(ahead) <= left and place.matcher.validate_tokens(ahead) == len(ahead):
            return True  # quickly told: a letter more in a string
        behind = self._follow(place, token)
        return behind.sure and behind.most < left


class GrammarCursor:
    """Implements `edge.core.types.Cursor`."""

    def __init__(self, rows: GrammarRows, place: Place) -> None:
        self._rows, self.place = rows, place

    @property
    def over(self) -> bool:
        return self.place.over

    def allows(self, token: int) -> bool:
        return self._rows.allows(self.place, token)

    def ids(self) -> Tensor:
        return self._rows.ids(self.place)

    def step(self, token: int) -> None:
        self.place = self._rows.behind(self.place, token)
