"""TaylorSeer: units at every so many steps, forecast in between (arXiv 2503.06923)."""

from __future__ import annotations

from torch import Tensor

from edge.core.errors import InputError
from robotics.policy.cache.trunk import TrunkCache


class TaylorCache(TrunkCache):
    """every: steps from one computed step to the next; warm_up: first steps that are all computed."""

    def __init__(self, every: int, order: int = 1, warm_up: int = 2) -> None:
        """Raises InputError for less than one step, or an order that there is no forecast of."""
        super().__init__(order)
        if every < 1 or warm_up < 1:
            raise InputError(f"every {every}, warm_up {warm_up}: count steps from 1 on")
        self.every, self.warm_up = every, warm_up

    def due(self, step: int, h: Tensor) -> bool:
        return step < self.warm_up or (step - self.warm_up + 1) % self.every == 0
