"""How good a chunk can be by a deadline: samplers and caches with the time they take on this machine, measured.

The rows stand in order of merit (of success where a benchmark says, `edge bench policy`; else the dearer the better). The best one
whose 95th percentile fits is taken, and the fastest where none does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, ValidationError

from edge.core.config import Frozen, explain
from edge.core.errors import InputError

Milliseconds = Annotated[float, Field(ge=0)]
WARM_UP, ROUNDS = 3, 30


class Choice(Frozen):
    """sampler: SAMPLER:STEPS; cache: METHOD:NUMBER, or none."""

    sampler: str
    cache: str = "none"
    p50_ms: Milliseconds
    p95_ms: Milliseconds

    @property
    def name(self) -> str:
        return self.sampler if self.cache == "none" else f"{self.sampler}+{self.cache}"


class Budget(Frozen):
    """A measured table, the best row first. machine: where it was measured."""

    machine: str
    choices: Annotated[tuple[Choice, ...], Field(min_length=1)]

    def by(self, left_ms: float | None) -> int:
        """The row for a chunk that may take so long; None: as long as it takes."""
        if left_ms is None:
            return 0
        for i, c in enumerate(self.choices):
            if c.p95_ms <= left_ms:
                return i
        return min(range(len(self.choices)), key=lambda i: self.choices[i].p95_ms)

    @classmethod
    def load(cls, file: Path) -> Budget:
        """Raises InputError, one line, for a file that is none."""
        try:
            return cls.model_validate_json(file.read_text(encoding="utf-8"))
        except OSError as e:
            raise InputError(f"{file}: cannot be read ({e.strerror}); measure one with `edge act budget`") from None
        except ValidationError as e:
            raise InputError(f"{file}: {explain(e)}; measure one with `edge act budget`") from None


def measure(machine: str, rows: Sequence[tuple[str, str, Callable[[], object]]], rounds: int = ROUNDS) -> Budget:
    """rows: sampler, cache and what makes a chunk with them, the best first. They take turns, so that all meet the same machine."""
    spent: list[list[float]] = [[] for _ in rows]
    for n in range(WARM_UP + rounds):
        for i, (_, _, chunk) in enumerate(rows):
            begin = time.perf_counter()
            chunk()
            if n >= WARM_UP:
                spent[i].append(1000 * (time.perf_counter() - begin))
    choices = [
        Choice(sampler=s, cache=c, p50_ms=round(float(np.median(ms)), 3), p95_ms=round(float(np.quantile(ms, 0.95)), 3))
        for (s, c, _), ms in zip(rows, spent, strict=True)
    ]
    return Budget(machine=machine, choices=tuple(choices))
