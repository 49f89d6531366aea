"""A template without padding: fields of varying length follow one another, so where a row lies is known only when it is reached.

For checkpoints that were never taught a padding token. Fields follow their automaton left to right; literal rows that become
certain join the frozen ones (`ahead`). Everything else is as in the scaffold. Shapes: `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from decoding.fields import Field, Fields, State
from decoding.template import Template, Text
from decoding.writing import Writing
from edge.core.errors import UnsupportedError
from edge.core.types import Tokenizer

Item = int | Field
"""A literal id, or a field."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Implements `edge.core.types.Constraint`. items: the answer in turn; section: the section of each item."""

    items: tuple[Item, ...]
    section: tuple[str, ...]
    template: Template
    vocab_size: int

    def __len__(self) -> int:
        """Rows of the longest answer."""
        return sum(1 if isinstance(i, int) else i.width for i in self.items)

    def cursor(self, start: int, tokens: Tensor) -> FlowCursor:
        out = FlowCursor(self)
        for t in tokens[:start].tolist():
            out.step(t)
        return out

    def allowed_given(self, row: int, tokens: Tensor, decided: Tensor) -> Tensor:
        """The first undecided row follows its automaton; a row behind it is judged as long as only fixed widths lie between."""
        first = int((~decided[: row + 1]).nonzero()[0])
        cursor = self.cursor(first, tokens)
        if cursor.over:
            return torch.zeros(0, dtype=torch.long)
        for start, field in cursor.certain(first):
            if not isinstance(field, int) and start <= row < start + field.width:
                decided_here = decided[start : start + field.width].tolist()
                given = [t if d else None for t, d in zip(tokens[start:].tolist(), decided_here, strict=False)]
                given[row - start] = None
                return field.between(given, row - start)
        return cursor.ids() if row == first else torch.zeros(0, dtype=torch.long)

    def ahead(self, row: int, tokens: Tensor) -> list[tuple[int, int]]:
        cursor = self.cursor(row, tokens)
        return [(r, item) for r, item in cursor.certain(row) if isinstance(item, int)]

    def open_rows(self, tokens: Tensor) -> tuple[int, int]:
        """(rows that a field holds, 0: there is no padding) among answer rows int64 [n]."""
        cursor, count = FlowCursor(self), 0
        for t in tokens.tolist():
            count += not cursor.literal(t)
            cursor.step(t)
        return count, 0


class FlowCursor:
    """Implements `edge.core.types.Cursor`: item `at`, and in a field its state and how many tokens it has."""

    def __init__(self, flow: Flow) -> None:
        self.flow, self.at, self.lost = flow, 0, False
        self._state: State = None
        self._taken = 0
        self._enter(0)

    def _enter(self, item: int) -> None:
        self.at, self._taken = item, 0
        inside = self.flow.items[item] if item < len(self.flow.items) else 0
        self._state = None if isinstance(inside, int) else inside.start()

    @property
    def over(self) -> bool:
        return self.at >= len(self.flow.items) and not self.lost

    def _field(self) -> Field | None:
        item = self.flow.items[self.at] if self.at < len(self.flow.items) else 0
        return None if isinstance(item, int) else item

    def _entries(self) -> Iterator[tuple[int, Item, State]]:
        """Items that may take the next token, and their states: this one, and those behind it as far as fields may end."""
        at, state = self.at, self._state
        while at < len(self.flow.items):
            item = self.flow.items[at]
            yield at, item, state
            if isinstance(item, int) or not item.ends(state):
                return
            at += 1
            following = self.flow.items[at] if at < len(self.flow.items) else 0
            state = None if isinstance(following, int) else following.start()

    def allows(self, token: int) -> bool:
        if self.lost or self.over:
            return True
        return any(token == i if isinstance(i, int) else i.step(s, token) is not None for _, i, s in self._entries())

    def ids(self) -> Tensor:
        if self.lost or self.over:
            return torch.arange(self.flow.vocab_size)
        found = [torch.tensor([i]) if isinstance(i, int) else i.ids(s) for _, i, s in self._entries()]
        return torch.cat(found).unique()

    def literal(self, token: int) -> bool:
        """Whether `token` is a literal's here."""
        for _, item, state in self._entries():
            if isinstance(item, int):
                return item == token
            if item.step(state, token) is not None:
                return False
        return False

    def step(self, token: int) -> None:
        if self.lost or self.over:
            self.lost = True
            return
        for at, item, state in self._entries():
            if isinstance(item, int):
                if item == token:
                    self._enter(at + 1)
                    return
            elif (following := item.step(state, token)) is not None:
                self.at, self._state, self._taken = at, following, (self._taken if at == self.at else 0) + 1
                if self._taken == item.width:
                    self._enter(at + 1)
                return
        self.lost = True

    def ending(self, sections: Container[str]) -> tuple[str, int] | None:
        """(section, literal that ends it here), if this place is in free text of one of `sections` and that may end."""
        if self.lost or self.at + 1 >= len(self.flow.items) or self.flow.section[self.at] not in sections:
            return None
        item, following = self.flow.items[self.at], self.flow.items[self.at + 1]
        if not (isinstance(item, Writing) and item.ends(self._state) and isinstance(following, int)):
            return None
        return self.flow.section[self.at], following

    def certain(self, row: int) -> list[tuple[int, Item]]:
        """(first row, item) from this place (answer row `row`) on, as far as all widths are fixed."""
        if self.lost:
            return []
        out: list[tuple[int, Item]] = []
        start = row - self._taken
        for item in self.flow.items[self.at :]:
            if isinstance(item, int):
                out.append((start, item))
                start += 1
            elif item.least == item.width:
                out.append((start, item))
                start += item.width
            else:
                break
        return out


def build(template: Template, tokenizer: Tokenizer, *, vocab_size: int, stop_id: int | None = None) -> Flow:
    """Compile `template` for a tokenizer without padding. stop_id ends the answer as one more literal.

    Raises UnsupportedError when the answer could not be told to be over: it ends with a field of varying length and there is no
    stop token; or when a field may go on with the very token that follows it.
    """
    items: list[Item] = []
    section: list[str] = []
    make = Fields(tokenizer, vocab_size, None)
    for s in template.sections:
        for part in s.parts:
            new: Sequence[Item] = tokenizer.encode(part.text) if isinstance(part, Text) else [make.of(part)]
            items += new
            section += [s.name] * len(new)
    if stop_id is not None:
        items.append(stop_id)
        section.append(section[-1])
    last = items[-1]
    if not isinstance(last, int) and last.least < last.width:
        raise UnsupportedError("an answer that ends with a value of varying length needs a stop token: BlockSpec.stop_ids is empty")
    return Flow(tuple(items), tuple(section), template, vocab_size)
