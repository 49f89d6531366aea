"""Who takes part in an evaluation, and on which windows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.core.errors import InputError
from edge.strategies import STRATEGIES
from robotics.driving.answer import PlannerConfig

PARENT_STRATEGY = "ar"
"""How parents decode; also the stage that their `training.json` names."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A checkpoint folder and how it decodes; a `Configuration` whose planner is not loaded yet.

    parent: the others' yardstick; blind: it is shown grey in place of every picture.
    """

    name: str
    model: Path
    strategy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    parent: bool = False
    blind: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """Which windows (see `split_windows`), and by whom. Windows of one job are rendered once for all entrants."""

    entrants: tuple[Entrant, ...]
    data: Path
    split: str
    limit: int | None
    dtype: str

    def image_size(self) -> tuple[int, int]:
        """What all entrants read. Raises CheckpointError, UnknownNameError or InputError before anything slow has begun."""
        for e in self.entrants:
            STRATEGIES.get(e.strategy)
        sizes = {PlannerConfig.load(e.model).image_size: e.model for e in self.entrants}
        if len(sizes) != 1:
            raise InputError(f"models that read images of different sizes ({', '.join(map(str, sizes))}): evaluate them one by one")
        return next(iter(sizes))


def entrants(
    models: Sequence[Path], strategy: str, rollouts: Sequence[int], parents: Sequence[Path] = (), blinded: Sequence[Path] = ()
) -> tuple[Entrant, ...]:
    """Every model with every number of rollouts. Parents, given or told by their `training.json`, decode with `ar`, once.

    blinded: models and parents that take part once more without seeing; who was trained without seeing never sees.
    Raises InputError for no rollouts or fewer than one.
    """
    if not rollouts or min(rollouts) < 1:
        raise InputError(f"rollouts {' '.join(map(str, rollouts)) or '(none)'}: give numbers from 1 on")
    out = []
    seeing = list(dict.fromkeys([*models, *parents]))
    folders = list(dict.fromkeys([*seeing, *blinded]))
    for folder in folders:
        label = folder.name if [f.name for f in folders].count(folder.name) == 1 else str(folder)
        parent = folder in parents or is_parent(folder)
        for blind in _sights(folder, folder in seeing, folder in blinded):
            seen = " blind" if blind else ""
            if parent:
                # a parent that does not see is compared with the others, and nobody with it
                out.append(Entrant(f"{label} {PARENT_STRATEGY}{seen}", folder, PARENT_STRATEGY, parent=not blind, blind=blind))
                continue
            for n in dict.fromkeys(rollouts):
                more, suffix = ({}, "") if n == 1 else ({"rollouts": n}, f" x{n}")
                out.append(Entrant(f"{label} {strategy}{suffix}{seen}", folder, strategy, more, blind=blind))
    return tuple(out)


def _sights(folder: Path, listed: bool, blinded: bool) -> list[bool]:
    """Whether a folder's entrants are blind: one that sees, one that does not, or both."""
    never = _training(folder).get("blind") is True
    return list(dict.fromkeys([never] * listed + [True] * blinded))


def is_parent(folder: Path) -> bool:
    """Whether a checkpoint says that it was trained to write a token at a time; one that says nothing was not."""
    return _training(folder).get("stage") == PARENT_STRATEGY


def _training(folder: Path) -> dict[str, Any]:
    """What a checkpoint says of its training; nothing, of one that says nothing."""
    try:
        content = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
