"""How the lineages of one request are decoded: a strategy, and what is wrapped around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from decoding.deadline import hurried
from decoding.ending import until
from decoding.logprobs import Listener, TokenLogprob
from decoding.rules import Pick, greedy, sampler
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError
from edge.core.types import Canvas, Strategy
from edge.pace import Hurry
from edge.stopping import Stops
from edge.strategies import Start
from edge.trace.observe import Tracer

MOST_LOGPROBS = 20
"""Alternatives to a token that may be asked for (as in OpenAI's interface)."""


@dataclass(slots=True)
class Course:
    """What all lineages of a request have in common. Lineage n > 0 is sampled with seed `seed + n - 1`.

    logprobs: alternatives to remember for every token, None for no log-probabilities at all.
    """

    spec: BlockSpec
    start: Start
    temperature: float
    top_p: float
    seed: int
    rush: Hurry | None
    stop: tuple[str, ...]
    logprobs: int | None
    text: Callable[[list[int]], str]
    tracer: Tracer | None
    _listeners: dict[int, Listener] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises InputError for numbers outside their bounds."""
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise InputError(f"temperature must be 0 or more and top_p in (0, 1]: got {self.temperature} and {self.top_p}")
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_LOGPROBS:
            raise InputError(f"logprobs must be between 0 and {MOST_LOGPROBS} alternatives: got {self.logprobs}")

    def alone(self, canvas: Canvas) -> Strategy:
        """The whole answer on one canvas."""
        return self._ended(canvas, sampler(self.temperature, self.top_p, self.seed), 0)

    def beginning(self, canvas: Canvas) -> Strategy:
        """The greedy beginning that forked lineages share. To be wrapped, then watched (`followed`)."""
        return self._heard(canvas, greedy, 0)

    def forked(self, canvases: Sequence[Canvas]) -> list[Strategy]:
        """Lineages 1, 2, ..."""
        return [self._ended(c, sampler(self.temperature, self.top_p, self.seed + n), n + 1) for n, c in enumerate(canvases)]

    def followed(self, strategy: Strategy, canvas: Canvas, lineage: int = 0) -> Strategy:
        """The strategy, with its forwards told to whoever traces."""
        return strategy if self.tracer is None else self.tracer.follow(strategy, canvas, lineage)

    def judged(self, tokens: list[int], lineage: int) -> tuple[TokenLogprob, ...] | None:
        """Log-probabilities of a lineage's answer, if any were asked for."""
        return self._listeners[lineage].answer(tokens) if lineage in self._listeners else None

    def _ended(self, canvas: Canvas, pick: Pick, lineage: int) -> Strategy:
        strategy = self._heard(canvas, pick, lineage)
        if self.stop:
            strategy = until(strategy, canvas, Stops(self.stop, self.text))
        return self.followed(strategy, canvas, lineage)

    def _heard(self, canvas: Canvas, pick: Pick, lineage: int) -> Strategy:
        strategy = self._hurried(canvas, pick)
        if self.logprobs is None:
            return strategy
        self._listeners[lineage] = Listener(canvas, self.logprobs, self._listeners.get(0))
        return self._listeners[lineage].listen(strategy)

    def _hurried(self, canvas: Canvas, pick: Pick) -> Strategy:
        rush = self.rush
        if rush is None:
            return self.start(canvas, self.spec, pick)
        return hurried(lambda: self.start(canvas, self.spec, pick), canvas, self.spec, rush.clock, rush.optional, pick)
