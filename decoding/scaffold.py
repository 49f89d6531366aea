"""The frozen-row scaffold: a template compiled for one tokenizer (Fast-dDrive, deep scaffold, arXiv 2605.23163).

Literal text becomes frozen rows; every hole becomes open rows, each with the ids it may take given the rows before it. It is built
from token ids piece by piece, never by tokenizing a rendered answer, so training and decoding see the same rows.
Shapes: `N` answer rows, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as default

import torch
from torch import Tensor

from decoding.fields import Field, Fields, State
from decoding.template import Choice, FreeText, Hole, Template, Text
from edge.core.errors import UnsupportedError
from edge.core.types import Section, Tokenizer


@dataclass(frozen=True, slots=True)
class FieldRows:
    """A field at rows `start .. end-1` of the answer."""

    field: Field
    start: int

    @property
    def end(self) -> int:
        return self.start + self.field.width


@dataclass(frozen=True, slots=True)
class Scaffold:
    """Rows of an answer. Implements `edge.core.types.Constraint`.

    tokens: int64 [N], ids of the frozen rows (0 at open rows); frozen: bool [N]; sections: in answer order, covering all rows.
    holes: for each hole of the template its rows (start, end).
    static: bool [N, V], ids that a row can take at all; fields: for rows that depend on rows before them, the field they are of.
    """

    tokens: Tensor
    frozen: Tensor
    sections: tuple[Section, ...]
    holes: tuple[tuple[int, int], ...]
    template: Template
    pad_token_id: int | None
    static: Tensor
    fields: dict[int, FieldRows] = default(default_factory=dict)  # by row, for rows with memory
    _encode: Tokenizer | None = None

    def __len__(self) -> int:
        return self.tokens.shape[0]

    # --- what the rows may be -----------------------------------------------------------------------------------------

    def cursor(self, start: int, tokens: Tensor) -> ScaffoldCursor:
        return ScaffoldCursor(self, start, tokens)

    def allowed_given(self, row: int, tokens: Tensor, decided: Tensor) -> Tensor:
        hole = self.fields.get(row)
        if hole is None:
            return self.static[row].nonzero().flatten()
        rows = zip(tokens[hole.start : hole.end].tolist(), decided[hole.start : hole.end].tolist(), strict=True)
        given = [t if d else None for t, d in rows]
        given[row - hole.start] = None
        return hole.field.between(given, row - hole.start)

    def ahead(self, row: int, tokens: Tensor) -> list[tuple[int, int]]:
        return []  # all literal rows have their place from the start

    # --- blocks ---------------------------------------------------------------------------------------------------------

    def block_ends(self, block_size: int) -> tuple[int, ...]:
        """Exclusive ends of the blocks: per section, open rows in chunks of `block_size`; frozen rows join the next open row.

        Fast-dDrive, section block ids (rbi): a frozen row takes the block of the nearest open row, forward first.
        """
        ends = []
        for s in self.sections:
            rows = (~self.frozen[s.start : s.end]).nonzero().flatten() + s.start
            ends += [int(chunk[-1]) + 1 for chunk in rows.split(block_size) if chunk.numel()]
        if not ends or ends[-1] != len(self):
            ends = [*ends[:-1], len(self)]  # trailing frozen rows belong to the last block
        return tuple(ends)

    # --- answers --------------------------------------------------------------------------------------------------------

    def fill(self, values: Sequence[str]) -> Tensor:
        """Answer rows int64 [N] with the holes set to `values` (text, one per hole).

        Raises ValueError naming the hole for a value it cannot take.
        """
        if len(values) != len(self.holes):
            raise ValueError(f"the template has {len(self.holes)} holes: got {len(values)} values")
        out = self.tokens.clone()
        for n, value in enumerate(values):
            start, end = self.holes[n]
            out[start:end] = torch.tensor(self.hole_ids(n, value), dtype=torch.long)
        return out

    def hole_ids(self, n: int, value: str) -> list[int]:
        """Ids of hole n's rows when it holds `value`, padding included. Raises ValueError for a value it cannot take."""
        assert self._encode is not None
        start, end = self.holes[n]
        ids = self._encode.encode(value)
        if len(ids) > end - start:
            raise ValueError(f"hole {n} holds {end - start} tokens: {value!r} has {len(ids)}")
        if len(ids) < end - start:
            if self.pad_token_id is None:
                raise ValueError(f"hole {n}: {value!r} is {len(ids)} tokens of {end - start} and there is no padding token")
            ids = ids + [self.pad_token_id] * (end - start - len(ids))
        cursor = self.cursor(start, self.tokens)
        if not all(cursor.passes(t) for t in ids):
            raise ValueError(f"hole {n} cannot hold {value!r}")
        return ids

    def values(self, tokens: Tensor) -> list[str]:
        """The text of every hole in answer rows int64 [N], padding stripped; the inverse of `fill`."""
        assert self._encode is not None
        return [self._encode.decode([i for i in tokens[a:b].tolist() if i != self.pad_token_id]) for a, b in self.holes]

    def open_rows(self, tokens: Tensor) -> tuple[int, int]:
        """(open rows that hold content, open rows that hold padding) among answer rows int64 [n <= N]."""
        open_ = ~self.frozen[: tokens.shape[0]]
        pad = int((open_ & (tokens == self.pad_token_id)).sum()) if self.pad_token_id is not None else 0
        return int(open_.sum()) - pad, pad


class ScaffoldCursor:
    """Implements `edge.core.types.Cursor`. `state` is that of the field the row lies in, None after a token that cannot stand."""

    def __init__(self, scaffold: Scaffold, row: int, tokens: Tensor) -> None:
        self.scaffold, self.row = scaffold, row
        self._state: State = None
        if (hole := scaffold.fields.get(row)) is not None:
            self.row = hole.start
            for t in tokens[hole.start : row].tolist():
                self.step(t)

    @property
    def over(self) -> bool:
        return self.row >= len(self.scaffold)

    def _enter(self) -> FieldRows | None:
        hole = self.scaffold.fields.get(self.row)
        if hole is not None and hole.start == self.row:
            self._state = hole.field.start()
        return hole if self._state is not None else None

    def allows(self, token: int) -> bool:
        hole = self._enter()
        if hole is None:
            return bool(self.scaffold.static[self.row, token])
        return hole.field.step(self._state, token) is not None

    def ids(self) -> Tensor:
        hole = self._enter()
        return self.scaffold.static[self.row].nonzero().flatten() if hole is None else hole.field.ids(self._state)

    def step(self, token: int) -> None:
        hole = self._enter()
        if hole is not None:
            self._state = hole.field.step(self._state, token)
        self.row += 1

    def passes(self, token: int) -> bool:
        """Go on behind `token`; whether it was allowed."""
        ok = self.allows(token)
        self.step(token)
        return ok


def build(
    template: Template, tokenizer: Tokenizer, *, vocab_size: int, pad_token_id: int | None = None, stop_id: int | None = None
) -> Scaffold:
    """Compile `template` for a tokenizer.

    stop_id, if given, ends the answer as one more frozen row. Raises UnsupportedError when a hole cannot be honoured: a digit or
    sign that is no single token, or values of unequal length (options, numbers, free text) without a padding token.
    """
    rows: list[int | Tensor] = []
    holes: list[tuple[int, int]] = []
    sections: list[Section] = []
    fields: dict[int, FieldRows] = {}
    make = Fields(tokenizer, vocab_size, pad_token_id)
    for s in template.sections:
        first = len(rows)
        for part in s.parts:
            start = len(rows)
            if isinstance(part, Text):
                rows += tokenizer.encode(part.text)
                continue
            field = make.of(part)
            if pad_token_id is None and field.least < field.width:
                raise UnsupportedError(
                    f"{_name(part)} has values of {field.least} to {field.width} tokens and the checkpoint has no padding token; "
                    "choose values of equal length or a checkpoint trained with one"
                )
            rows += field.rows()
            holes.append((start, len(rows)))
            if field.remembers:
                fields.update(dict.fromkeys(range(start, len(rows)), FieldRows(field, start)))
        sections.append(Section(s.name, first, len(rows)))
    if stop_id is not None:
        rows.append(stop_id)
        last = sections[-1]
        sections[-1] = Section(last.name, last.start, len(rows))

    static = torch.zeros(len(rows), vocab_size, dtype=torch.bool)
    for n, ids in enumerate(rows):
        static[n, ids] = True
    frozen = torch.tensor([isinstance(ids, int) or ids.numel() == 1 for ids in rows])
    tokens = torch.tensor([int(ids) if f else 0 for ids, f in zip(rows, frozen.tolist(), strict=True)])
    return Scaffold(tokens, frozen, tuple(sections), tuple(holes), template, pad_token_id, static, fields, tokenizer)


def varies(template: Template, tokenizer: Tokenizer) -> bool:
    """Whether a hole has values of unequal token counts."""
    make = Fields(tokenizer, 0, None)
    return any(isinstance(p, FreeText) or (f := make.of(p)).least < f.width for _, p in template.holes())


def _name(part: Hole) -> str:
    return f"a hole of kind {part.kind!r}" + (f" {list(part.options)}" if isinstance(part, Choice) else "")
