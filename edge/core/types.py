"""The nouns that every room shares. Read this file first.

A **strategy** (package `decoding`) is a generator: it yields a `Call` (rows to compute) or a `Keep` (rows of the last call that
become permanent) and receives a `Reply`. A **host** answers it: the session of the embedded engine, or a server plug-in. The
**canvas** is the whole state of one lineage, so a fresh strategy started on the same canvas at a round boundary continues
identically. Shapes: `R` rows of a call, `L` rows of a canvas, `W` wanted predictions, `V` vocabulary.

A row has three independent numbers: *position* (rotary embedding, logical index in the text), *order* (visibility, see
`edge.core.visibility`) and *slot* (storage, known to the host alone). Never derive one from another.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

TRUNK = 0
"""Branch of everything that has been said. A guess lives on a child branch."""

GUESS = 1
"""First branch of a strategy's provisional rows. It and those after it (2, 3, ...) are children of the trunk; a call ends them."""

LINEAGE = 64
"""Branch numbers of lineage n start at n * LINEAGE: there is its own trunk, a child of the trunk, and behind that its guesses.
Strategies know lineage 0 alone; hosts that decode several answers over one prefix number the others."""

FinishReason = Literal["stop", "length", "deadline"]


@dataclass(frozen=True, slots=True)
class At:
    """Want the model's prediction of the token at call row `row` itself."""

    row: int


@dataclass(frozen=True, slots=True)
class After:
    """Want the model's prediction of the token that follows call row `row`."""

    row: int


Want = At | After


@dataclass(frozen=True, slots=True)
class Call:
    """One forward pass: R rows and the predictions wanted from it.

    tokens: int64 [R]; ignored where `masked` is true.
    masked: bool [R], rows shown to the model as the mask token. Masked-ness is never read off a token id: a prompt may
        contain the mask token as text.
    order, branch, position: int64 [R].
    want: the predictions to return, in this order. For a row to be wanted `At` in a checkpoint with label shift 1, the row
        before it (position - 1, same line of branches) must be in the same call.
    """

    tokens: Tensor
    masked: Tensor
    order: Tensor
    branch: Tensor
    position: Tensor
    want: tuple[Want, ...]

    def __len__(self) -> int:
        return self.tokens.shape[0]


@dataclass(frozen=True, slots=True)
class Keep:
    """Make rows of the last call permanent; all its other rows vanish. rows: int64 [K], indices into the call."""

    rows: Tensor


@dataclass(frozen=True, slots=True)
class Reply:
    """Predictions of a call. logits: float [W, V], in the order of `Call.want`; the mask id is never allowed (-inf)."""

    logits: Tensor


Strategy = Generator[Call | Keep, Reply | None, None]
"""Yields `Call` (answered by a `Reply`) or `Keep` (answered by None)."""


class Host(Protocol):
    """What drives a model for a strategy."""

    def forward(self, call: Call) -> Reply: ...

    def keep(self, rows: Tensor) -> None: ...


class Tokenizer(Protocol):
    """Text to token ids and back, without special tokens added."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...


class Cursor(Protocol):
    """A place in an answer that is read from left to right. over: the answer is complete before it."""

    @property
    def over(self) -> bool: ...

    def allows(self, token: int) -> bool: ...

    def ids(self) -> Tensor:
        """Ids int64 that may stand here; at least one unless the answer is over."""
        ...

    def step(self, token: int) -> None:
        """Go on behind `token`. After one that is not allowed everything is allowed: there is no way back to an answer."""
        ...


class Constraint(Protocol):
    """What the tokens of an answer may be. `decoding.scaffold.Scaffold`, `decoding.flow.Flow` and
    `decoding.grammar.GrammarRows` are those that ship."""

    def __len__(self) -> int:
        """Rows of the longest answer."""
        ...

    def cursor(self, start: int, tokens: Tensor) -> Cursor:
        """The place behind the first `start` answer tokens (int64 [>= start])."""
        ...

    def allowed_given(self, row: int, tokens: Tensor, decided: Tensor) -> Tensor:
        """Ids allowed at answer row `row` beside every decided row of the answer, on both sides: int64 [n].

        None (n = 0) where the row has to wait for rows before it.
        """
        ...

    def ahead(self, row: int, tokens: Tensor) -> list[tuple[int, int]]:
        """(row, token) of literal rows behind open row `row` whose place is certain already, given the tokens before it."""
        ...


@dataclass(frozen=True, slots=True)
class Section:
    """A named stretch of the answer: answer rows `start .. end-1`."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Draft:
    """Predictions that stand for open rows. rows: int64 [n], ascending; logits: float [n, V]."""

    rows: Tensor
    logits: Tensor


@dataclass(slots=True)
class Canvas:
    """Prompt and answer of one lineage, and how far they have come.

    tokens: int64 [L], prompt then answer up to its limit; meaningless where `decided` is false.
    decided: bool [L]. The prompt and the scaffold's frozen rows start decided; literal rows whose place is certain join them.
    frozen: bool [L], decided by the prompt or the scaffold rather than by the model.
    prompt_len: rows of the prompt, at least 1.
    kept: leading rows whose keys and values are permanent on the host. Decided rows from `kept` on are *pending*.
    constraint: what the answer may be, or None for free text.
    block_ends: sorted exclusive ends of the scaffold's blocks in canvas rows, or () for a floating grid.
    draft: what was predicted for rows behind the frontier and is yet to be verified, for strategies that draft ahead.
    skipped: sections that were closed rather than decoded, to meet a deadline or because they were not asked for.
    finish: why the answer is complete, None while it is not.
    """

    tokens: Tensor
    decided: Tensor
    frozen: Tensor
    prompt_len: int
    kept: int = 0
    constraint: Constraint | None = None
    block_ends: tuple[int, ...] = ()
    draft: Draft | None = None
    skipped: tuple[str, ...] = ()
    finish: FinishReason | None = None

    @classmethod
    def open(cls, prompt: Tensor, max_new_tokens: int) -> Canvas:
        """A canvas for free text: prompt int64 [P], then `max_new_tokens` open rows."""
        n = prompt.shape[0]
        tokens = torch.zeros(n + max_new_tokens, dtype=torch.long)
        tokens[:n] = prompt
        decided = torch.zeros(n + max_new_tokens, dtype=torch.bool)
        decided[:n] = True
        return cls(tokens=tokens, decided=decided, frozen=decided.clone(), prompt_len=n)

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def frontier(self) -> int:
        """First undecided row, or L."""
        open_ = (~self.decided).nonzero()
        return int(open_[0]) if open_.numel() else len(self)

    def answer(self) -> Tensor:
        """Decided leading answer tokens, int64 [n]."""
        return self.tokens[self.prompt_len : self.frontier]
