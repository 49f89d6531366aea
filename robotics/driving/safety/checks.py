"""One check: what was measured, what it may be, and whether a candidate that breaks it may still be driven."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Stage = Literal["freshness", "schema", "plausibility", "kinematics", "collision"]
STAGES: tuple[Stage, ...] = ("freshness", "schema", "plausibility", "kinematics", "collision")
"""In this order, cheap ones first; a stage with a failed critical check is the last one that is run."""


@dataclass(frozen=True, slots=True)
class Check:
    """value and limit: numbers of the unit in the check's limit, or None where there is none. critical: hard, not comfort."""

    name: str
    value: float | None
    limit: float | None
    ok: bool
    critical: bool = True
    stage: Stage = "plausibility"

    @classmethod
    def at_most(cls, name: str, value: float, limit: float, critical: bool = True) -> Check:
        """NaN is never ok."""
        return cls(name, _number(value), limit, bool(value <= limit), critical)

    @classmethod
    def at_least(cls, name: str, value: float, limit: float, critical: bool = True) -> Check:
        return cls(name, _number(value), limit, bool(value >= limit), critical)

    @classmethod
    def that(cls, name: str, ok: bool, critical: bool = True) -> Check:
        """A check without a number."""
        return cls(name, None, None, ok, critical)


def _number(value: float) -> float | None:
    """A value that JSON can hold."""
    return float(value) if math.isfinite(value) else None


def staged(stage: Stage, checks: list[Check]) -> list[Check]:
    return [Check(c.name, c.value, c.limit, c.ok, c.critical, stage) for c in checks]


def passed(checks: list[Check]) -> bool:
    """Whether no critical check failed."""
    return all(c.ok or not c.critical for c in checks)


def comfortable(checks: list[Check]) -> bool:
    return all(c.ok for c in checks)
