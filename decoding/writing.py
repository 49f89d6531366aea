r"""The inside of a JSON string as free text: which tokens may come next, and which beside tokens on both sides.

A token is read character by character by a lexer of two states, PLAIN and ESCAPE (a lone backslash came before). Tokens that
hold a bare quote, a control character or a part of a character are never allowed, so a string closes where it should and no
character is cut. `\u` escapes are left out: every character but the control characters can be written as it is, and most of those
have an escape of one letter. Lengths are code points of the string that is meant: an escape counts once, at its backslash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edge.core.types import Tokenizer

PLAIN, ESCAPE, PADDED = 0, 1, 2
STATES = 3
FAR = 1 << 40
"""More code points than any string has: no way."""
_AFTER_BACKSLASH = frozenset('"\\/bfnrt')


def read(text: str, state: int = PLAIN) -> tuple[int, int] | None:
    """(state after `text`, code points it adds), or None when it may not stand there."""
    chars = 0
    for c in text:
        if state == ESCAPE:
            if c not in _AFTER_BACKSLASH:
                return None
            state = PLAIN
        elif c == '"' or c == "\ufffd" or ord(c) < 0x20 or 0xD800 <= ord(c) < 0xE000:
            return None
        else:
            chars += 1
            state = ESCAPE if c == "\\" else PLAIN
    return state, chars


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The token ids of text. ids[q], to[q], chars[q]: int64 [n], what is allowed in state q, where it leads, what it adds."""

    ids: tuple[Tensor, ...]
    to: tuple[Tensor, ...]
    chars: tuple[Tensor, ...]
    read: tuple[dict[int, tuple[int, int]], ...]

    @classmethod
    def of(cls, tokenizer: Tokenizer, vocab_size: int, pad_token_id: int | None = None) -> Alphabet:
        tables: list[dict[int, tuple[int, int]]] = [{}, {}]
        for i in range(vocab_size):
            text = tokenizer.decode([i]) if i != pad_token_id else ""
            if not text or tokenizer.encode(text) != [i]:
                continue  # special, unused, or part of a character
            for state in (PLAIN, ESCAPE):
                if (seen := read(text, state)) is not None:
                    tables[state][i] = seen
        if pad_token_id is not None:
            tables[PLAIN][pad_token_id] = PADDED, 0
        tables.append({} if pad_token_id is None else {pad_token_id: (PADDED, 0)})
        columns = [torch.tensor([(i, to, n) for i, (to, n) in t.items()], dtype=torch.long).reshape(-1, 3) for t in tables]
        ids, to, chars = (tuple(c[:, k].contiguous() for c in columns) for k in range(3))
        return cls(ids, to, chars, tuple(tables))

    @property
    def longest(self) -> int:
        """Code points of the longest token, and room for an escape behind it."""
        return 1 + max((int(c.max()) for c in self.chars if c.numel()), default=0)

    def cheapest(self) -> list[list[int]]:
        """[q][q2]: fewest code points of one token that leads from state q to q2; FAR where none does."""
        out = [[FAR] * STATES for _ in range(STATES)]
        for q in range(STATES):
            for to in range(STATES):
                there = self.chars[q][self.to[q] == to]
                if there.numel():
                    out[q][to] = int(there.min())
        return out


class Writing:
    """Free text of at most `width` tokens and `max_chars` code points; padding, if the alphabet has it, fills up the rest."""

    def __init__(self, alphabet: Alphabet, width: int, max_chars: int | None = None) -> None:
        self.alphabet, self.width = alphabet, width
        self.most = FAR - 1 if max_chars is None else max_chars
        self.least, self.remembers = (width if alphabet.ids[PADDED].numel() else 0), True
        cost = alphabet.cheapest()
        self._cost = cost
        self._found: dict[tuple[int, ...], Tensor] = {}
        # fewest code points from state q to an end, in n more rows; with padding all rows are used, without it at most n
        free = [0 if q != ESCAPE else FAR for q in range(STATES)]
        self._rest = [free]
        can_pad = bool(alphabet.ids[PADDED].numel())
        for _ in range(width):
            last = self._rest[-1]
            best = [min(min(cost[q][to] + last[to] for to in range(STATES)), FAR) for q in range(STATES)]
            self._rest.append(best if can_pad else [min(a, b) for a, b in zip(best, free, strict=True)])

    def rows(self) -> list[Tensor]:
        before, out = [0, FAR, FAR], []
        for n in range(self.width):
            out.append(torch.cat([self._ids(q, before[q], n) for q in range(STATES) if before[q] < FAR]).unique())
            before = [min(before[q] + self._cost[q][to] for q in range(STATES)) for to in range(STATES)]
        return out

    def start(self) -> tuple[int, int, int]:
        """State of the lexer, code points and tokens so far."""
        return PLAIN, 0, 0

    def step(self, state: tuple[int, int, int], token: int) -> tuple[int, int, int] | None:
        q, chars, n = state
        seen = self.alphabet.read[q].get(token) if n < self.width else None
        if seen is None or chars + seen[1] + self._rest[self.width - n - 1][seen[0]] > self.most:
            return None
        return seen[0], chars + seen[1], n + 1

    def ids(self, state: tuple[int, int, int]) -> Tensor:
        q, chars, n = state
        return self._ids(q, chars, n) if n < self.width else torch.zeros(0, dtype=torch.long)

    def ends(self, state: tuple[int, int, int]) -> bool:
        return state[0] != ESCAPE

    def _ids(self, q: int, chars: int, n: int) -> Tensor:
        a, rest = self.alphabet, self._rest[self.width - n - 1]
        key = (q, min(self.most - chars, a.longest), *rest)  # far from both limits all places are alike
        if key not in self._found:
            self._found[key] = a.ids[q][a.chars[q] + torch.tensor(rest)[a.to[q]] <= self.most - chars]
        return self._found[key]

    def between(self, tokens: Sequence[int | None], row: int) -> Tensor:
        """Ids that row `row` of `width` rows may take beside the given ones (None: open); padding fills what is not text."""
        a, open_ = self.alphabet, self._cost
        before, after = [0, FAR, FAR], [0, FAR, 0]
        for t in tokens[:row]:
            before = [min(before[q] + self._of(t, q, open_)[to] for q in range(STATES)) for to in range(STATES)]
        for t in reversed(tokens[row + 1 :]):
            after = [min(self._of(t, q, open_)[to] + after[to] for to in range(STATES)) for q in range(STATES)]
        ends = torch.tensor(after)
        given = tokens[row]
        found = [a.ids[q][before[q] + a.chars[q] + ends[a.to[q]] <= self.most] for q in range(STATES) if before[q] < FAR]
        ids = torch.cat(found).unique() if found else torch.zeros(0, dtype=torch.long)
        return ids if given is None else ids[ids == given]

    def _of(self, token: int | None, q: int, open_: list[list[int]]) -> list[int]:
        """Code points of a row by the state it leads to: of a given token, or the fewest of an open one."""
        if token is None:
            return open_[q]
        out = [FAR] * STATES
        if (seen := self.alphabet.read[q].get(token)) is not None:
            out[seen[0]] = seen[1]
        return out
