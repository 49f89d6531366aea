"""Samples, and what becomes of them.

Shapes: `L` tokens of a sample, `R` rows of a view, `T` targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from edge.core.errors import InputError
from edge.core.types import TRUNK
from edge.core.visibility import forest, visible


@dataclass(frozen=True)
class Sample:
    """A conversation. ids: int64 [L]; answer: bool [L], tokens that the model is to write; vision: bool [L], placeholders of
    pictures.

    frozen: bool [L], answer tokens that are given (a scaffold); section: int64 [L], the number of an answer token's section, -1
    elsewhere.
    """

    ids: Tensor
    answer: Tensor
    vision: Tensor | None = None
    frozen: Tensor | None = None
    section: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("answer", "vision", "frozen", "section"):
            given = getattr(self, name)
            if given is not None and given.shape != self.ids.shape:
                raise InputError(f"sample: {name} must have one entry a token, {len(self.ids)}: got {len(given)}")
        if bool(self.answer[:1].any()):
            raise InputError("sample: the first token is an answer, which nothing comes before; begin with a prompt")

    def __len__(self) -> int:
        return len(self.ids)

    def padded(self, token: int, multiple: int, *, answer: bool) -> Sample:
        """With `token` behind it up to a multiple of `multiple`; answer: whether what is added is to be learnt."""
        more = -len(self) % multiple

        def longer(values: Tensor | None, fill: int) -> Tensor | None:
            return None if values is None else torch.cat([values, values.new_full((more,), fill)])

        ids, told = longer(self.ids, token), longer(self.answer, int(answer))
        assert ids is not None
        assert told is not None
        last = -1 if self.section is None or not more else int(self.section[-1])
        return Sample(ids, told, longer(self.vision, 0), longer(self.frozen, 0), longer(self.section, last if answer else -1))


@dataclass(frozen=True)
class View:
    """One forward pass over a sample.

    tokens: int64 [R]; source: int64 [R], the token of the sample whose place a row takes; order, branch: int64 [R]; ancestor: of
    the branches. at: int64 [T], rows whose predictions are asked for; label: int64 [T]; weight: float64 [T].
    """

    tokens: Tensor
    source: Tensor
    order: Tensor
    branch: Tensor
    ancestor: Tensor
    at: Tensor
    label: Tensor
    weight: Tensor

    def seen(self) -> Tensor:
        """bool [R, R]."""
        return visible(self.order, self.branch, self.order, self.branch, self.ancestor)


@dataclass(frozen=True)
class Rows:
    """Where rows stand, before anything is masked. clean: int64 [L], the row that shows a token as it is, -1 if none does; noisy:
    int64 [L], the row that may hide it, -1 if none does. The two may be the same.
    """

    source: Tensor
    order: Tensor
    branch: Tensor
    ancestor: Tensor
    clean: Tensor
    noisy: Tensor


def alone(length: int) -> Rows:
    """Every token once, and all rows see all (LaViDa: full attention)."""
    at = torch.arange(length)
    return Rows(at, torch.zeros_like(at), torch.full_like(at, TRUNK), forest([-1]), at, at)


def doubled(block: Tensor, context: Literal["causal", "block"], keep: Tensor | None = None) -> Rows:
    """Clean rows, and noisy copies of those that `keep` says (all where it says nothing).

    block: int64 [L], never falling: which block a token is in. context: whether clean rows see those before them token by token, or
    all of their own block too. Noisy rows see the clean rows of earlier blocks and the noisy ones of their own.
    """
    length = len(block)
    at = torch.arange(length)
    names, place = torch.unique_consecutive(block, return_inverse=True)
    if len(names) != len(block.unique()):
        raise InputError("block: a block's tokens must stand together")
    first = torch.searchsorted(place.contiguous(), torch.arange(len(names)))
    order = at if context == "causal" else place
    before = (first - 1 if context == "causal" else torch.arange(len(names)) - 1)[place]
    kept = at if keep is None else at[keep]
    noisy = torch.full_like(at, -1)
    noisy[kept] = length + torch.arange(len(kept))
    return Rows(
        source=torch.cat([at, kept]),
        order=torch.cat([order, before[kept]]),
        branch=torch.cat([torch.full_like(at, TRUNK), 1 + place[kept]]),
        ancestor=forest([-1] + [TRUNK] * len(names)),
        clean=at,
        noisy=noisy,
    )


def asked(
    rows: Rows, sample: Sample, hidden: Tensor, mask_token_id: int, shift: int, first: Literal["noisy", "clean"] = "clean"
) -> tuple[View, Tensor]:
    """The view in which `hidden` (bool [L]) tokens are shown as masks, with a target of weight 1 for each; and which tokens these
    are, int64 [T], in order.

    shift 0: a masked row says its own token. shift 1: the noisy row before says it. first: who says an answer's first token.
    Where the context is causal that is the clean row of the prompt's last token, so that noisy rows of a prompt are asked nothing
    and it does not matter what they see.
    """
    which = hidden.nonzero().flatten()
    tokens = sample.ids[rows.source].clone()
    where = rows.noisy[which]
    if bool((where < 0).any()):
        raise InputError("hidden: names tokens that have no noisy row")
    tokens[where] = mask_token_id
    if shift == 0:
        at = where
    elif first == "noisy":
        at = rows.noisy[which - 1]
    else:
        at = torch.where(sample.answer[which - 1], rows.noisy[which - 1], rows.clean[which - 1])
    view = View(
        tokens,
        rows.source,
        rows.order,
        rows.branch,
        rows.ancestor,
        at,
        sample.ids[which],
        torch.ones(len(which), dtype=torch.float64),
    )
    return view, which


def next_tokens(rows: Rows, sample: Sample) -> tuple[Tensor, Tensor]:
    """Targets of the autoregressive loss on the clean rows: where, int64 [T], and which tokens, int64 [T]."""
    which = sample.answer.nonzero().flatten()
    return rows.clean[which - 1], which


def extended(view: View, at: Tensor, label: Tensor, weight: float) -> View:
    """With more targets, of one weight each."""
    more = torch.full((len(at),), weight, dtype=torch.float64)
    return replace(view, at=torch.cat([view.at, at]), label=torch.cat([view.label, label]), weight=torch.cat([view.weight, more]))


def weighed(view: View, weight: Tensor) -> View:
    """With other weights, one for each target."""
    return replace(view, weight=weight.double())


def total(losses: Sequence[Tensor], views: Sequence[View]) -> Tensor:
    """The loss: cross-entropies of the targets of each view, [T] each, by their weights."""
    parts = [(each * view.weight.to(each)).sum() for each, view in zip(losses, views, strict=True)]
    return torch.stack(parts).sum()


def answer_blocks(answer: Tensor, size: int) -> Tensor:
    """int64 [L]: blocks counted from each answer's beginning and cut at its end; what lies between answers is a block of its own,
    so that numbers rise along the sample (Fast-dVLM: no block crosses the end of a turn).
    """
    out = torch.empty(len(answer), dtype=torch.long)
    number, run = -1, 0
    for i, inside in enumerate(answer.tolist()):
        new = i == 0 or inside != bool(answer[i - 1]) or (inside and run == size)
        number, run = (number + 1, 1) if new else (number, run + 1)
        out[i] = number
    return out
