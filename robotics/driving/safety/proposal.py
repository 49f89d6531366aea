"""What a planner hands in. Nothing about it is believed: every field may hold anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError
from robotics.driving.answer import Answer, parse
from robotics.driving.coding import WAYPOINT_TIMES_S
from robotics.driving.safety.checks import Check

F64 = NDArray[np.float64]

LONGEST_ANSWER = 100_000
"""Characters; no answer of any checkpoint comes near."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """An untrusted plan. text: the model's answer; waypoints: [5, 2] m, absolute, ego frame; skipped: sections left out to save
    time; told: what its making cost, for the reply alone."""

    text: Any
    waypoints: Any
    skipped: Any = ()
    told: Any = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Read:
    """A proposal as far as it can be read. answer and waypoints are None where they cannot."""

    answer: Answer | None
    waypoints: F64 | None
    skipped: tuple[str, ...]
    checks: list[Check]


def read(proposal: Proposal) -> Read:
    """The schema stage: exact keys and values, and five pairs of finite numbers."""
    answer, waypoints = _answer(proposal.text), _waypoints(proposal.waypoints)
    checks = [Check.that("answer", answer is not None), Check.that("waypoints", waypoints is not None)]
    skipped = tuple(s for s in proposal.skipped if isinstance(s, str)) if isinstance(proposal.skipped, list | tuple) else ()
    return Read(answer, waypoints, skipped, checks)


def _answer(text: Any) -> Answer | None:
    if not isinstance(text, str) or len(text) > LONGEST_ANSWER:
        return None
    try:
        return parse(text)
    except InputError:
        return None


def _waypoints(given: Any) -> F64 | None:
    if not isinstance(given, np.ndarray | list | tuple):
        return None
    try:
        found = np.asarray(given)
        if found.dtype.kind not in "fiu" or found.shape != (WAYPOINT_TIMES_S.size, 2):
            return None
        found = found.astype(np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    # the square of what is larger than this is no number any more
    return found if np.isfinite(found).all() and np.abs(found).max() < 1e9 else None
