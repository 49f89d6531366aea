"""An evaluation: everyone's errors on the same windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.bench.evaluation.entrants import Entrant, Job
from edge.bench.evaluation.workers import plan_all
from edge.bench.windows import site, sites, split_windows
from edge.core.errors import InputError
from robotics.driving.answer import PlannerConfig
from robotics.driving.evaluate import Outcome, reference_errors
from robotics.driving.scene import Window
from robotics.driving.trivial import fit_ridges, path_errors, trivial_paths

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured on N windows. errors: [N, 10] m by name, NaN for an invalid answer; outcomes: of the models alone.

    baselines: the names of the trivial ones, of which the best is to be beaten; references: what a model's zeros stand for.
    """

    windows: Sequence[Window]
    entrants: tuple[Entrant, ...]
    parents: tuple[str, ...]
    baselines: tuple[str, ...]
    references: tuple[str, ...]
    errors: Mapping[str, F64]
    paths: Mapping[str, F64]
    outcomes: Mapping[str, Sequence[Outcome]]

    def at(self, where: str) -> NDArray[np.bool_]:
        """Which windows are of a site."""
        return np.array([site(w.scene.name) == where for w in self.windows])

    def scenes(self, rows: NDArray[np.bool_]) -> list[str]:
        return [w.scene.name for w, r in zip(self.windows, rows, strict=True) if r]

    def best(self, where: str) -> str:
        """The trivial baseline with the least mean displacement over 5 s at a site."""
        rows = self.at(where)
        return min(self.baselines, key=lambda name: float(self.errors[name][rows].mean()))

    def sites(self) -> dict[str, int]:
        return sites([w.scene.name for w in self.windows])


def answered(errors: F64) -> NDArray[np.bool_]:
    """[N, K] -> [N]: which windows have a valid answer."""
    return np.asarray(~np.isnan(errors).any(axis=1))


def evaluate(
    chosen: tuple[Entrant, ...],
    data: Path,
    split: str = "val",
    limit: int | None = None,
    *,
    train: str = "train",
    dtype: str = "float32",
    workers: int = 2,
    show: bool = True,
) -> Evaluation:
    """Plan the windows of `split` with everyone; ridges are fitted on those of `train`.

    Raises InputError when there is no window or a model has no valid answer at a site, and what loading models and data raises.
    """
    job = Job(chosen, data, split, limit, dtype)
    job.image_size()
    found = split_windows(data, split, limit)
    if not found:
        raise InputError(f"{data}: split {split!r} has no window; choose another, or raise --limit")
    paths = trivial_paths(found, fit_ridges(split_windows(data, train), site), site)
    errors = path_errors(paths, found)
    baselines = tuple(errors)
    errors |= (reference := _references(chosen, found))
    outcomes = plan_all(job, len(found), workers, show)
    errors |= {name: np.stack([o.errors for o in each]) for name, each in outcomes.items()}
    _refuse_the_mute(errors, [site(w.scene.name) for w in found])
    parents = tuple(e.name for e in chosen if e.parent)
    return Evaluation(found, chosen, parents, baselines, tuple(reference), errors, paths, outcomes)


def _refuse_the_mute(errors: Mapping[str, F64], where: Sequence[str]) -> None:
    for name, metres in errors.items():
        mute = sorted(set(where) - set(np.array(where)[answered(metres)].tolist()))
        if mute:
            raise InputError(f"{name}: none of its answers at {', '.join(mute)} is valid, so there is nothing to average")


def _references(chosen: Sequence[Entrant], found: Sequence[Window]) -> dict[str, F64]:
    """The path alone that each model corrects, once for models that share it."""
    kinds: dict[Any, list[str]] = {}
    for e in chosen:
        kinds.setdefault(PlannerConfig.load(e.model).coding, []).append(e.name)
    single = len(kinds) == 1
    return {
        f"reference path ({coding.kind})" if single else f"reference path of {models[0]}": np.stack(
            [reference_errors(w, coding) for w in found]
        )
        for coding, models in kinds.items()
    }
