"""Parts of a template for one tokenizer: literal ids, or a field that says which ids its rows may take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from decoding.machine import Machine, alternatives, in_turn, padded
from decoding.numbers import characters, number_machine
from decoding.template import Chars, Choice, FreeText, Hole, JsonNumber, Number
from decoding.writing import Alphabet, Writing
from edge.core.errors import UnsupportedError
from edge.core.types import Tokenizer

State = Any
"""Where a field is after some of its tokens: its own business, hashable."""


class Field(Protocol):
    """What a hole may hold, judged by its own tokens alone.

    least, width: fewest and most rows of a value; remembers: whether a row depends on the rows before it.
    """

    least: int
    width: int
    remembers: bool

    def rows(self) -> list[Tensor]:
        """For each of `width` rows the ids int64 it can take at all."""
        ...

    def start(self) -> State: ...

    def step(self, state: State, token: int) -> State | None:
        """The state after one more token, or None when it is not allowed."""
        ...

    def ids(self, state: State) -> Tensor:
        """Ids int64 that are allowed next; none when the value is complete."""
        ...

    def ends(self, state: State) -> bool:
        """Whether a value may end in this state."""
        ...

    def between(self, tokens: Sequence[int | None], row: int) -> Tensor:
        """Ids that row `row` of `width` rows may take beside the given ones on both sides (None: open)."""
        ...


class Finite:
    """A field of few values: an automaton."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.least, self.width = machine, machine.least, machine.width
        self.remembers = len(machine.moves) > machine.width + 1 or machine.least < machine.width
        self._ids = [torch.tensor(sorted(m), dtype=torch.long) for m in machine.moves]

    def rows(self) -> list[Tensor]:
        layers, out = {0}, []
        for _ in range(self.width):
            ways = [(t, n) for s in layers for t, n in self.machine.moves[s].items()]
            out.append(torch.tensor(sorted({t for t, _ in ways}), dtype=torch.long))
            layers = {n for _, n in ways}
        return out

    def start(self) -> int:
        return 0

    def step(self, state: int, token: int) -> int | None:
        return self.machine.moves[state].get(token)

    def ids(self, state: int) -> Tensor:
        return self._ids[state]

    def ends(self, state: int) -> bool:
        return self.machine.ends[state]

    def between(self, tokens: Sequence[int | None], row: int) -> Tensor:
        return torch.tensor(sorted(self.machine.between(tokens)[row]), dtype=torch.long)


class Fields:
    """Makes fields for one tokenizer. The table of what text may be made of is built when it is first needed."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, pad_token_id: int | None) -> None:
        self.tokenizer, self.vocab_size, self.pad = tokenizer, vocab_size, pad_token_id
        self._alphabet: Alphabet | None = None

    def of(self, hole: Hole) -> Field:
        """The field of a hole: padded to one width where there is a padding token.

        Raises UnsupportedError when a character that has to be one token is not.
        """
        if isinstance(hole, FreeText):
            self._alphabet = self._alphabet or Alphabet.of(self.tokenizer, self.vocab_size, self.pad)
            return Writing(self._alphabet, hole.budget, hole.max_chars)
        machine = self._machine(hole)
        return Finite(machine if self.pad is None else padded(machine, self.pad))

    def _machine(self, hole: Choice | Chars | JsonNumber | Number) -> Machine:
        if isinstance(hole, Choice):
            return alternatives([self.tokenizer.encode(o) for o in hole.options])
        if isinstance(hole, Chars):
            return in_turn([self._any(c) for c in hole.classes])
        if isinstance(hole, JsonNumber):
            return number_machine(hole, {c: self.single(c) for c in characters(hole)})
        whole, point = [self._any("+-"), *[self._any("0123456789")] * hole.integer_digits], [[self.single(".")]]
        return in_turn([*whole, *(point + [self._any("0123456789")] * hole.decimals if hole.decimals else [])])

    def _any(self, characters: str) -> list[int]:
        """Ids of those characters that are one token. Raises UnsupportedError when none is."""
        found = [ids[0] for c in characters if len(ids := self.tokenizer.encode(c)) == 1]
        if not found or (len(found) < len(characters) and characters.isascii()):
            self.single(next(c for c in characters if len(self.tokenizer.encode(c)) != 1))
        return found

    def single(self, text: str) -> int:
        ids = self.tokenizer.encode(text)
        if len(ids) != 1:
            raise UnsupportedError(
                f"fixed-width text needs {text!r} as one token: this tokenizer makes {ids}; use one that splits characters"
            )
        return ids[0]
