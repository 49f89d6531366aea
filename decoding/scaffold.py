"""The frozen-row scaffold: a template compiled for one tokenizer (Fast-dDrive, deep scaffold, arXiv 2605.23163).

Literal text becomes frozen rows; every hole becomes open rows, each with the ids it may take given the rows before it. It is built
from token ids piece by piece, never by tokenizing a rendered answer, so training and decoding see the same rows.
Shapes: `N` answer rows, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from decoding.template import Choice, FreeText, Number, Template, Text
from edge.core.errors import UnsupportedError
from edge.core.types import Section, Tokenizer


@dataclass(frozen=True, slots=True)
class _Alternatives:
    """A hole that is one of a few token sequences, rows `start .. start+width-1`. ids: int64 [n, width]."""

    start: int
    ids: Tensor

    @property
    def end(self) -> int:
        return self.start + self.ids.shape[1]


@dataclass(frozen=True, slots=True)
class _Padded:
    """A free-text hole, rows `start .. end-1`: text ids, then padding to the end."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Scaffold:
    """Rows of an answer. Implements `edge.core.types.Constraint`.

    tokens: int64 [N], ids of the frozen rows (0 at open rows); frozen: bool [N]; sections: in answer order, covering all rows.
    holes: for each hole of the template its rows (start, end).
    static: bool [N, V], ids that a row can take at all.
    """

    tokens: Tensor
    frozen: Tensor
    sections: tuple[Section, ...]
    holes: tuple[tuple[int, int], ...]
    template: Template
    pad_token_id: int | None
    static: Tensor
    _fields: dict[int, _Alternatives | _Padded] = field(default_factory=dict)  # by row, for rows with memory
    _encode: Tokenizer | None = None

    def __len__(self) -> int:
        return self.tokens.shape[0]

    # --- what the rows may be -----------------------------------------------------------------------------------------

    def allowed(self, start: int, tokens: Tensor) -> Tensor:
        out = self.static[start : tokens.shape[0]].clone()
        for row in range(start, tokens.shape[0]):
            if row in self._fields:
                out[row - start] = self._after(row, tokens)
        return out

    def _after(self, row: int, tokens: Tensor) -> Tensor:
        hole = self._fields[row]
        if isinstance(hole, _Padded):
            ended = bool((tokens[hole.start : row] == self.pad_token_id).any())
            return self._only_pad() if ended else self.static[row]
        fits = (hole.ids[:, : row - hole.start] == tokens[hole.start : row]).all(dim=1)
        return self._one_of(hole.ids[fits, row - hole.start]) if bool(fits.any()) else self.static[row]

    def allowed_given(self, row: int, tokens: Tensor, decided: Tensor) -> Tensor:
        hole = self._fields.get(row)
        if hole is None:
            return self.static[row]
        span = slice(hole.start, hole.end)
        at = row - hole.start
        if isinstance(hole, _Alternatives):
            others = decided[span].clone()
            others[at] = False
            fits = ((hole.ids == tokens[span]) | ~others).all(dim=1)
            return self._one_of(hole.ids[fits, at])
        pad = (tokens[span] == self.pad_token_id) & decided[span]
        text = (tokens[span] != self.pad_token_id) & decided[span]
        if bool(pad[:at].any()):
            return self._only_pad()
        out = self.static[row].clone()
        if bool(text[at + 1 :].any()):
            out[self.pad_token_id] = False
        return out

    def forced(self, row: int, tokens: Tensor) -> int | None:
        ids = (self._after(row, tokens) if row in self._fields else self.static[row]).nonzero()
        return int(ids[0]) if ids.shape[0] == 1 else None

    def _only_pad(self) -> Tensor:
        assert self.pad_token_id is not None
        return self._one_of(torch.tensor([self.pad_token_id]))

    def _one_of(self, ids: Tensor) -> Tensor:
        out = torch.zeros(self.static.shape[1], dtype=torch.bool)
        out[ids] = True
        return out

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
        assert self._encode is not None
        out = self.tokens.clone()
        for n, ((start, end), value) in enumerate(zip(self.holes, values, strict=True)):
            ids = self._encode.encode(value)
            if len(ids) > end - start:
                raise ValueError(f"hole {n} holds {end - start} tokens: {value!r} has {len(ids)}")
            if len(ids) < end - start:
                if self.pad_token_id is None:
                    raise ValueError(f"hole {n}: {value!r} is {len(ids)} tokens of {end - start} and there is no padding token")
                ids = ids + [self.pad_token_id] * (end - start - len(ids))
            out[start:end] = torch.tensor(ids)
            ok = self.allowed(start, out[:end]).gather(1, out[start:end, None]).all()
            if not bool(ok):
                raise ValueError(f"hole {n} cannot hold {value!r}")
        return out

    def values(self, tokens: Tensor) -> list[str]:
        """The text of every hole in answer rows int64 [N], padding stripped; the inverse of `fill`."""
        assert self._encode is not None
        return [self._encode.decode([i for i in tokens[a:b].tolist() if i != self.pad_token_id]) for a, b in self.holes]

    def open_rows(self, tokens: Tensor) -> tuple[int, int]:
        """(open rows that hold content, open rows that hold padding) among answer rows int64 [n <= N]."""
        open_ = ~self.frozen[: tokens.shape[0]]
        pad = int((open_ & (tokens == self.pad_token_id)).sum()) if self.pad_token_id is not None else 0
        return int(open_.sum()) - pad, pad


def build(
    template: Template, tokenizer: Tokenizer, *, vocab_size: int, pad_token_id: int | None = None, stop_id: int | None = None
) -> Scaffold:
    """Compile `template` for a tokenizer.

    stop_id, if given, ends the answer as one more frozen row. Raises UnsupportedError when a hole cannot be honoured: a digit or
    sign that is no single token, or options of unequal length (or free text) without a padding token.
    """
    rows: list[int | Tensor] = []
    holes: list[tuple[int, int]] = []
    sections: list[Section] = []
    fields: dict[int, _Alternatives | _Padded] = {}
    writable = _writable_ids(tokenizer, vocab_size)

    def single(text: str) -> int:
        ids = tokenizer.encode(text)
        if len(ids) != 1:
            raise UnsupportedError(f"a number needs {text!r} as one token: this tokenizer makes {ids}; use a digit-splitting one")
        return ids[0]

    for s in template.sections:
        first = len(rows)
        for part in s.parts:
            start = len(rows)
            if isinstance(part, Text):
                rows += tokenizer.encode(part.text)
                continue
            if isinstance(part, Choice):
                hole = _Alternatives(start, _padded_options(part, tokenizer, pad_token_id))
                rows += list(hole.ids.unbind(dim=1))
                if hole.ids.shape[1] > 1:
                    fields.update(dict.fromkeys(range(start, hole.end), hole))
            elif isinstance(part, FreeText):
                if pad_token_id is None:
                    raise UnsupportedError("free text in a fixed template needs a padding token: BlockSpec.pad_token_id is None")
                ids = torch.cat([writable, torch.tensor([pad_token_id])])
                rows += [ids] * part.budget
                fields.update(dict.fromkeys(range(start, len(rows)), _Padded(start, len(rows))))
            else:
                rows += _number_rows(part, single)
            holes.append((start, len(rows)))
        sections.append(Section(s.name, first, len(rows)))
    if stop_id is not None:
        rows.append(stop_id)
        last = sections[-1]
        sections[-1] = Section(last.name, last.start, len(rows))

    static = torch.zeros(len(rows), vocab_size, dtype=torch.bool)
    for n, ids in enumerate(rows):
        static[n, ids] = True
    frozen = torch.tensor([isinstance(ids, int) for ids in rows])
    tokens = torch.tensor([ids if isinstance(ids, int) else 0 for ids in rows])
    return Scaffold(tokens, frozen, tuple(sections), tuple(holes), template, pad_token_id, static, fields, tokenizer)


def _number_rows(part: Number, single) -> list[int | Tensor]:
    sign = torch.tensor([single("+"), single("-")])
    digit = torch.tensor([single(d) for d in "0123456789"])
    rows: list[int | Tensor] = [sign, *[digit] * part.integer_digits]
    if part.decimals:
        rows += [single("."), *[digit] * part.decimals]
    return rows


def _padded_options(part: Choice, tokenizer: Tokenizer, pad_token_id: int | None) -> Tensor:
    """int64 [n, width]; raises UnsupportedError for options of unequal length without a padding token."""
    options = [tokenizer.encode(o) for o in part.options]
    width = max(map(len, options))
    if pad_token_id is None and any(len(o) != width for o in options):
        raise UnsupportedError(
            f"options {list(part.options)} have unequal token counts {[len(o) for o in options]} and the checkpoint has no "
            "padding token; choose options of equal length or a checkpoint trained with one"
        )
    return torch.tensor([o + [pad_token_id] * (width - len(o)) for o in options])


def _writable_ids(tokenizer: Tokenizer, vocab_size: int) -> Tensor:
    """Ids that may stand inside a JSON string as they are: whole characters, no quote, no backslash, no control character."""
    keep = []
    for i in range(vocab_size):
        text = tokenizer.decode([i])
        if text and tokenizer.encode(text) == [i] and not any(c in '"\\\ufffd' or ord(c) < 0x20 for c in text):
            keep.append(i)
    return torch.tensor(keep, dtype=torch.long)
