"""How old a plan is when it is used: one request in flight, the newest finished plan wins, time passes while a planner thinks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

PERIOD_TICKS = 5
"""A new plan is asked for every 0.5 s, or as soon as the one before is done."""
_EPS = 1e-9


@dataclass
class Pipeline(Generic[T]):
    """Requests and answers of a planner that takes `latency_s`, on a clock of ticks of `dt_s`.

    At each tick, in this order: `land(tick)`; if `due(tick)`, `ask(tick, plan)` with the plan for what is seen now; `use(tick)`.
    A plan is used from the first tick at which it is done. It speaks of the moment that it was asked for, and its age counts from
    there: that is how old what it knows is.
    """

    latency_s: float
    dt_s: float = 0.1
    started: list[int] = field(default_factory=list)
    current: tuple[int, T] | None = None
    _flying: tuple[int, T | None] | None = None

    def due(self, tick: int) -> bool:
        """Whether a request starts at `tick`: none is in flight and the period has passed."""
        return self._flying is None and (not self.started or tick - self.started[-1] >= PERIOD_TICKS)

    def ask(self, tick: int, plan: T | None) -> None:
        """A request starts at `tick`. plan: its answer; None for none, which still keeps the planner busy."""
        self.started.append(tick)
        self._flying = tick, plan
        self.land(tick)

    def land(self, tick: int) -> None:
        """The plan in flight arrives if it is done by `tick`."""
        if self._flying is not None and tick >= self._flying[0] + self.latency_s / self.dt_s - _EPS:
            if self._flying[1] is not None:
                self.current = self._flying[0], self._flying[1]
            self._flying = None

    def use(self, tick: int) -> tuple[T, float] | None:
        """The newest finished plan and its age in seconds: since the moment that it was computed from."""
        return None if self.current is None else (self.current[1], (tick - self.current[0]) * self.dt_s)
