"""What takes part: a policy, how it samples and which cache it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from safetensors.torch import load_file

from edge.core.errors import InputError
from edge.training.state import write_tensors
from robotics.policy.cache.base import Cache
from robotics.policy.cache.catalogue import NONE, Fitting, make
from robotics.policy.calibration import gathered
from robotics.policy.checkpoint import load
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.types import Queries

FITTED_ON = 6
"""Observations of each task that caches are fitted on: 36 for six tasks, where the paper takes those of one episode."""
FEW_STEPS = (2, 4, 6, 8, 10, 16)
"""Denoising steps of samplers without a cache: what every cache has to be better than."""
GRID = {
    "ddpm:100": {
        "uniform": (3, 5, 7, 10, 20),
        "unified": (3, 5, 7, 10, 20),
        "block-wise": (3, 5, 7, 10, 20),
        "bac": (3, 5, 7, 10, 20),
        "unified-single": (5, 10),
        "block-wise-single": (5, 10),
        "bac-single": (5, 10),
        "learned": (5, 10),
        "ertacache": (0.05, 0.1, 0.3),
        "cachequant8": (5, 10),
        "cachequant4": (5, 10),
        "tokens": (0.25, 0.5),
        "deepcache": (5, 20),
        "delta-dit": (5, 20),
        "first-block": (0.5, 1.0),
        "tea": (0.5, 1.0, 2.0, 4.0),
        "taylor": (4, 10, 20),
        "taylor2": (10, 20),
        "gated-taylor": (0.3, 1.0),
        "zeus": (3, 6, 12),
    },
    **{
        name: {
            "uniform": (3, 4, 5),
            "unified": (3, 4, 5),
            "block-wise": (3, 4, 5),
            "bac": (3, 4, 5),
            "learned": (3, 4, 5),
            "ertacache": (0.05, 0.1, 0.2),
            "cachequant8": (3, 4, 5),
            "cachequant4": (3, 4, 5),
            "tokens": (0.125, 0.25, 0.5),
            "deepcache": (2, 4),
            "delta-dit": (2, 4),
            "first-block": (0.1, 0.3, 0.6),
            "tea": (0.25, 0.5, 1.0),
            "taylor": (2, 3, 4),
            "taylor2": (2, 3, 4),
            "gated-taylor": (0.1, 0.3, 0.6),
            "zeus": (2, 3, 4),
        }
        for name in ("ddim:10", "ddim:16", "dpm:10", "flow:10")
    },
}
"""Numbers of every method with a sampler."""


@dataclass(frozen=True, slots=True)
class Entry:
    """model: folder; sampler: NAME:STEPS; cache: METHOD:NUMBER or none; words: what it is told in place of the task; blind: that it
    sees nothing.
    """

    model: Path
    sampler: str
    cache: str = NONE
    words: str | None = None
    blind: bool = False

    @property
    def name(self) -> str:
        told = "" if self.words is None else f" told {self.words!r}"
        return f"{self.model.name} {self.sampler} {self.cache}{told}{' blind' if self.blind else ''}"


def entries(models: Sequence[Path]) -> list[Entry]:
    """All that fit each policy: its samplers at few and many steps without a cache, and every cache on some of them."""
    out = []
    for model in models:
        flow = load(model).config.objective == "flow"
        samplers = ["flow"] if flow else ["ddim", "dpm"]
        plain = [f"{s}:{n}" for s in samplers for n in FEW_STEPS] + ([] if flow else ["ddpm:100"])
        out += [Entry(model, s) for s in plain]
        for sampler, methods in GRID.items():
            if (sampler.startswith("flow")) == flow:
                out += [Entry(model, sampler, f"{m}:{n:g}") for m, numbers in methods.items() for n in numbers]
    return out


def named(text: str) -> tuple[str, int]:
    """SAMPLER:STEPS. Raises InputError for anything else."""
    name, _, steps = text.partition(":")
    if not steps.isdecimal():
        raise InputError(f"sampler {text!r}: must be SAMPLER:STEPS; say for example ddim:10")
    return name, int(steps)


class Bench:
    """Policies, each loaded once, and caches, each fitted once, for one process. observations: file that they are fitted on."""

    def __init__(self, observations: Path) -> None:
        self._file = observations
        self.policy = lru_cache(maxsize=8)(load)
        self._fittings: dict[tuple[Path, str], Fitting] = {}
        self._caches: dict[Entry, Cache] = {}

    def ready(self, entry: Entry) -> tuple[DiffusionPolicy, Cache]:
        """The policy with the entry's sampler, and its cache, not yet attached."""
        policy = self.policy(entry.model)
        policy.sample_with(*named(entry.sampler))
        if entry not in self._caches:
            self._caches[entry] = make(entry.cache, self._fitting(entry, policy))
        return policy, self._caches[entry]

    def _fitting(self, entry: Entry, policy: DiffusionPolicy) -> Fitting:
        key = (entry.model, entry.sampler)
        if key not in self._fittings:
            stored = load_file(self._file)
            self._fittings[key] = Fitting(
                policy, Queries(stored["observations"], stored.get("memory")), folder=self._file.parent / "schedules"
            )
        return self._fittings[key]


def prepared(model: Path, file: Path) -> Path:
    """The file of observations that caches are fitted on, written if it is not there."""
    if not file.exists():
        policy = load(model)
        seen, _ = gathered(policy, policy.config.tasks, FITTED_ON)
        file.parent.mkdir(parents=True, exist_ok=True)
        stored = {"observations": seen.observations} | ({} if seen.memory is None else {"memory": seen.memory})
        write_tensors(file, stored, {})
    return file
