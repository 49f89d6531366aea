"""What a quantity will be at a later step: finite differences, as in TaylorSeer (arXiv 2503.06923, eq. 8).

Every observation replaces the differences of all orders: D^0 = y, D^(k+1) = (D^k - D^k before) / steps between. The forecast e
steps later is sum over k of D^k e^k / k!. Order 0 takes the last observation over.
"""

from __future__ import annotations

import math

from torch import Tensor

from edge.core.errors import InputError

MOST = 4
"""Highest order."""


class Differences:
    """Of a tensor that is observed now and then."""

    def __init__(self, order: int) -> None:
        """Raises InputError for an order outside 0 .. MOST."""
        if not 0 <= order <= MOST:
            raise InputError(f"order {order}: forecasts are of order 0 (the last value) to {MOST}; choose one of these")
        self._order = order
        self._kept: list[Tensor] = []
        self._step = 0

    def observe(self, y: Tensor, step: int) -> None:
        fresh = [y]
        for before in self._kept[: self._order]:
            fresh.append((fresh[-1] - before) / (step - self._step))
        self._kept, self._step = fresh, step

    def at(self, step: int) -> Tensor:
        """The forecast for a step after the last observation."""
        ahead, found = step - self._step, self._kept[0]
        for k, d in enumerate(self._kept[1:], start=1):
            found = found + d * (ahead**k / math.factorial(k))
        return found
