"""Caches by name: METHOD:NUMBER, such as `bac:5` or `taylor:4`; the number is what the method trades accuracy for work by."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from edge.core.errors import InputError, UnknownNameError
from robotics.policy.cache import ertacache, learned, quantised
from robotics.policy.cache.base import Cache, NoCache
from robotics.policy.cache.first_block import FirstBlockCache
from robotics.policy.cache.gated_taylor import GatedTaylorCache
from robotics.policy.cache.record import record
from robotics.policy.cache.solve import METHODS, solve
from robotics.policy.cache.spans import deepcache, delta_dit
from robotics.policy.cache.statistics import Statistics
from robotics.policy.cache.taylor import TaylorCache
from robotics.policy.cache.teacache import Distances, TeaCache
from robotics.policy.cache.tokens import TokenCache
from robotics.policy.cache.zeus import ZeusCache
from robotics.policy.policy import DiffusionPolicy, attached

POLYNOMIAL_DEGREE = 4
NONE = "none"


class Fitting:
    """What methods are fitted on: a policy with its sampler and observations [N, O, F]. Each is recorded once, when needed."""

    def __init__(self, policy: DiffusionPolicy, observations: Tensor, seed: int = 0) -> None:
        self.policy, self.observations, self.seed = policy, observations, seed
        self.units, self.steps = policy.denoiser.units, len(policy.sampler)

    @cached_property
    def statistics(self) -> Statistics:
        return record(self.policy, self.observations, self.seed)

    @cached_property
    def polynomial(self) -> tuple[float, ...]:
        noted = Distances()
        with attached(self.policy, noted):
            for seen in self.observations:
                self.policy.sample(seen[None], self.policy.noise(1))
        return tuple(float(c) for c in noted.fitted(POLYNOMIAL_DEGREE))


def _scheduled(method: str) -> Callable[[Fitting, float], Cache]:
    return lambda f, n: solve(f.statistics, method, _whole(n)).cache(f.policy)


CATALOGUE: dict[str, Callable[[Fitting, float], Cache]] = {
    **{method: _scheduled(method) for method in METHODS},
    "learned": lambda f, n: learned.fit(f.policy, f.observations, _whole(n), seed=f.seed),
    "ertacache": lambda f, n: ertacache.fit(f.policy, f.observations, n, f.seed),
    "cachequant8": lambda f, n: quantised.fit(f.policy, f.observations, _whole(n), 8, seed=f.seed),
    "cachequant4": lambda f, n: quantised.fit(f.policy, f.observations, _whole(n), 4, seed=f.seed),
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
