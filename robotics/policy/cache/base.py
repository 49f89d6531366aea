"""The interface of all caches, and the cache that is none."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from robotics.policy.denoiser import Denoiser
from robotics.policy.evaluation import Evaluation


class Cache(Protocol):
    """Drives the evaluations of one query after another."""

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        """A query begins: nothing is kept from the one before. Raises InputError for a denoiser or a number of steps that the
        cache was not made for.
        """
        ...

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        """The prediction at the next step."""
        ...


class NoCache:
    """Every unit at every step: what caches are compared with."""

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        pass

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        h = evaluation.start()
        for u in range(evaluation.denoiser.units):
            h = h + evaluation.unit(u, h)
        return evaluation.finish(h)
