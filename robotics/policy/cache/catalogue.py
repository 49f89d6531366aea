"""Caches by name: METHOD:NUMBER, such as `bac:5` or `taylor:4`; the number is what the method trades accuracy for work by."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from edge.core.errors import InputError, UnknownNameError
from robotics.policy.cache import ertacache, learned, quantised
from robotics.policy.cache.base import Cache, NoCache
from robotics.policy.cache.first_block import FirstBlockCache
from robotics.policy.cache.gated_taylor import GatedTaylorCache
from robotics.policy.cache.record import record
from robotics.policy.cache.schedule import Schedule
from robotics.policy.cache.solve import METHODS, solve
from robotics.policy.cache.spans import deepcache, delta_dit
from robotics.policy.cache.statistics import Statistics
from robotics.policy.cache.taylor import TaylorCache
from robotics.policy.cache.teacache import Distances, TeaCache
from robotics.policy.cache.tokens import TokenCache
from robotics.policy.cache.zeus import ZeusCache
from robotics.policy.checkpoint import fingerprint
from robotics.policy.policy import DiffusionPolicy, attached
from robotics.policy.types import Queries

POLYNOMIAL_DEGREE = 4
SINGLE = "-single"
"""Of a schedule that is solved from one query, as in the paper, and not from all."""
NONE = "none"


class Fitting:
    """What methods are fitted on: a policy with its sampler, and queries. Each is recorded once, when needed.

    folder: where schedules that take long to find are kept.
    """

    def __init__(self, policy: DiffusionPolicy, queries: Queries, seed: int = 0, folder: Path | None = None) -> None:
        self.policy, self.queries, self.seed, self.folder = policy, queries, seed, folder
        self.units, self.steps = policy.denoiser.units, len(policy.sampler)

    @cached_property
    def statistics(self) -> Statistics:
        return record(self.policy, self.queries, self.seed)

    @cached_property
    def polynomial(self) -> tuple[float, ...]:
        noted = Distances()
        with attached(self.policy, noted):
            for asked in self.queries:
                self.policy.sample(asked, self.policy.noise(1))
        return tuple(float(c) for c in noted.fitted(POLYNOMIAL_DEGREE))


def _scheduled(method: str, queries: int = 0) -> Callable[[Fitting, float], Cache]:
    return lambda f, n: solve(f.statistics, method, _whole(n), queries=queries).cache(f.policy)


def _learned(f: Fitting, number: float) -> Cache:
    budget, own = _whole(number), fingerprint(f.policy)
    name, steps = f.policy.sampler.name, len(f.policy.sampler)
    file = None if f.folder is None else f.folder / f"learned-{own}-{name}-{steps}-{budget}.json"
    if file is not None and file.exists():
        return Schedule.load(file).cache(f.policy)
    found = learned.fit(f.policy, f.queries, budget, seed=f.seed)
    if file is not None:
        refreshes = tuple(tuple(at) for at in found.refreshes)
        settings = {"budget": budget, "queries": len(f.queries), "seed": f.seed}
        Schedule(fingerprint=own, sampler=name, steps=steps, method="learned", settings=settings, refreshes=refreshes).save(file)
    return found


CATALOGUE: dict[str, Callable[[Fitting, float], Cache]] = {
    **{method: _scheduled(method) for method in METHODS},
    **{f"{method}{SINGLE}": _scheduled(method, 1) for method in METHODS if method != "uniform"},
    "learned": _learned,
    "ertacache": lambda f, n: ertacache.fit(f.policy, f.queries, n, f.seed),
    "cachequant8": lambda f, n: quantised.fit(f.policy, f.queries, _whole(n), 8, seed=f.seed),
    "cachequant4": lambda f, n: quantised.fit(f.policy, f.queries, _whole(n), 4, seed=f.seed),
    "tokens": lambda f, n: TokenCache(4, n),
    "deepcache": lambda f, n: deepcache(f.units, f.steps, _whole(n)),
    "delta-dit": lambda f, n: delta_dit(f.units, f.steps, _whole(n)),
    "first-block": lambda f, n: FirstBlockCache(n),
    "tea": lambda f, n: TeaCache(n, f.polynomial),
    "taylor": lambda f, n: TaylorCache(_whole(n), 1),
    "taylor2": lambda f, n: TaylorCache(_whole(n), 2),
    "gated-taylor": lambda f, n: GatedTaylorCache(n),
    "zeus": lambda f, n: ZeusCache(_whole(n)),
}


def make(name: str, fitting: Fitting) -> Cache:
    """A cache by name. Raises UnknownNameError for a method, InputError for a number that it cannot take."""
    if name == NONE:
        return NoCache()
    method, _, number = name.partition(":")
    if method not in CATALOGUE:
        raise UnknownNameError("cache", method, [NONE, *CATALOGUE])
    try:
        value = float(number)
    except ValueError:
        raise InputError(f"cache {name!r}: must be METHOD:NUMBER; say for example bac:5") from None
    return CATALOGUE[method](fitting, value)


def _whole(number: float) -> int:
    if number != int(number):
        raise InputError(f"{number}: this method counts; choose a whole number")
    return int(number)
