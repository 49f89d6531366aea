"""Losses of both stages. Only rows that carry loss go through the head.

Shapes: `B` batch, `N` answer rows, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.recipe import Weights
from decoding.scaffold import Scaffold
from decoding.template import Chars, Choice, FreeText, JsonNumber, Number
from edge.core.errors import UnknownNameError


@dataclass(frozen=True)
class Loss:
    """total: what is differentiated. parts: named means for the log, detached."""

    total: Tensor
    parts: dict[str, float]


def check_sections(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raises UnknownNameError for a section that the answer does not have."""
    known = list(known)
    for name in names:
        if name not in known:
            raise UnknownNameError(f"section in {where}", name, known)


def row_weights(scaffold: Scaffold, weights: Weights) -> Tensor:
    """AR stage: weight of each answer row, float32 [N]: kind of the hole (or frozen) times section."""
    out = torch.full((len(scaffold),), weights.frozen)
    number = weights.number
    kinds = {Number: number, JsonNumber: number, Chars: number, Choice: weights.choice, FreeText: weights.free}
    for (start, end), (_, hole) in zip(scaffold.holes, scaffold.template.holes(), strict=True):
        out[start:end] = torch.where(scaffold.frozen[start:end], weights.frozen, kinds[type(hole)])
    for s in scaffold.sections:
        out[s.start : s.end] *= weights.sections.get(s.name, 1.0)
    return out


def section_index(scaffold: Scaffold) -> Tensor:
    """Number of each answer row's section, int64 [N]."""
    out = torch.empty(len(scaffold), dtype=torch.long)
    for i, s in enumerate(scaffold.sections):
        out[s.start : s.end] = i
    return out


def next_token(logits: Tensor, answers: Tensor, weights: Tensor, scaffold: Scaffold, trained: Tensor | None = None) -> Loss:
    """AR stage: weighted mean cross-entropy of every answer row.

    logits: [B, N, V], row i predicts answer row i (the last prompt row predicts row 0); answers: int64 [B, N]; weights: [N].
    trained: bool [B, N], false for rows that carry no loss (`Batch.trained`); what a row weighs does not depend on the others.
    parts: "<section>" is the unweighted mean over its open rows.
    """
    each = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none").view(answers.shape)
    counted = torch.ones_like(each, dtype=torch.bool) if trained is None else trained
    total = (each * weights * counted).sum() / (weights.sum() * answers.shape[0])
    return Loss(total, by_section(each.detach(), counted & ~scaffold.frozen, scaffold))


def by_section(each: Tensor, counted: Tensor, scaffold: Scaffold) -> dict[str, float]:
    """Mean of `each` [B, N] over the rows `counted` (bool [B, N]) of every section; absent for a section without any."""
    out = {}
    for s in scaffold.sections:
        here = counted[:, s.start : s.end]
        if bool(here.any()):
            out[s.name] = float(each[:, s.start : s.end][here].mean())
    return out


def block_diffusion(
    clean: Tensor,
    drafts: Tensor,
    answers: Tensor,
    masked: Tensor,
    drafted: Tensor,
    scaffold: Scaffold,
    weights: Weights,
    trained: Tensor | None = None,
) -> Loss:
    """Convert stage (Fast-dDrive, arXiv 2605.23163, section-aware loss):

        sum over sections of w * sum of CE over their masked noisy rows, both copies, / M  +  clean * sum of CE over clean rows / M

    with M twice the number of answer rows, plus distillation: a share of each noisy CE is taken against the clean half's own
    distribution for that row. What self-speculation accepts is agreement with that distribution's largest entry, right or wrong.

    clean: [B, N, V], predictions of every answer row by the row before it; drafts: [2, B, O, V], of the rows `drafted` (int64
    [O]) by the noisy row before; answers: int64 [B, N]; masked: bool [2, B, N]; trained: as in `next_token`.
    parts: per section the mean noisy CE against the labels, "clean", and "agree": the share of masked rows whose draft is the
    clean half's choice.
    """
    items = 2 * answers.numel()
    labels = answers[:, drafted]
    told = torch.ones_like(answers, dtype=torch.bool) if trained is None else trained
    counted = (masked & told)[:, :, drafted]
    size = drafts.shape[-1]
    each_clean = F.cross_entropy(clean.flatten(0, 1), answers.flatten(), reduction="none")[told.flatten()]
    chosen = drafts[counted]  # [rows, V]: only masked rows go on
    hard = F.cross_entropy(chosen, labels.expand_as(counted)[counted], reduction="none")
    teacher = clean.detach()[:, drafted].expand(2, -1, -1, size)[counted]
    noisy = hard
    if weights.distill:
        soft = F.cross_entropy(chosen, teacher.softmax(-1), reduction="none")
        noisy = torch.lerp(hard, soft, weights.distill)
    by_row = torch.ones(len(scaffold))
    for s in scaffold.sections:
        by_row[s.start : s.end] = weights.sections.get(s.name, 1.0)
    row_weight = by_row[drafted].expand_as(counted)[counted]
    total = (noisy * row_weight).sum() / items + weights.clean * each_clean.sum() / items

    parts = {"clean": float(each_clean.detach().mean())}
    section = section_index(scaffold)[drafted].expand_as(counted)[counted]
    for i, s in enumerate(scaffold.sections):
        here = section == i
        if bool(here.any()):
            parts[s.name] = float(hard.detach()[here].mean())
    if chosen.shape[0]:
        parts["agree"] = float((chosen.detach().argmax(-1) == teacher.argmax(-1)).float().mean())
    return Loss(total, parts)
