"""Adaptive caching scheduler: at which denoising steps a unit is computed anew (BAC, arXiv 2506.13456, section 4.2).

Between two refreshes a unit's output is reused. Given how alike its outputs at all pairs of steps are, dynamic programming finds
the refreshes that serve all steps best. Two objectives:

* anchor, that of the authors' code: sum over segments [c, n) of sum_{c <= t < n} S[c, t]. What is reused is compared with what it
  stands for.
* adjacent, that of the paper's notation: sum of S[t, t - 1] over all steps that are no refresh. The sum telescopes: it takes the
  `budget` steps that resemble the step before them least, however far away the refresh is that serves them.

Shapes: `T` denoising steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError, UnknownNameError

F64 = NDArray[np.float64]
Objective = Literal["anchor", "adjacent"]
OBJECTIVES = ("anchor", "adjacent")


def solve_acs(similarity: Any, budget: int, objective: Objective = "anchor") -> list[int]:
    """The `budget` refreshes, ascending and the first of them 0, with the largest objective.

    similarity: [T, T], anything numpy makes an array of; larger is more alike, so distances come in negated. Of equally good
    schedules it is the lexicographically smallest. O(budget T^2). Raises InputError for a matrix that is not square and finite and
    for a budget outside 1 .. T, UnknownNameError for another objective.
    """
    s = np.asarray(similarity, dtype=np.float64)
    if s.ndim != 2 or s.shape[0] != s.shape[1] or not len(s) or not np.isfinite(s).all():
        raise InputError(f"similarity must be a finite matrix [T, T]: got shape {list(s.shape)}; record it anew")
    if not 1 <= budget <= len(s):
        raise InputError(f"budget {budget}: refreshes are counted from 1 to the {len(s)} denoising steps; choose one of these")
    if objective not in OBJECTIVES:
        raise UnknownNameError("objective", objective, OBJECTIVES)
    served = _served(s, objective)
    steps = len(s)
    best = served[:, steps].copy()  # of the steps from c on, served by one refresh at c
    after = np.zeros((budget, steps), dtype=np.int64)
    for used in range(1, budget):
        # [c, n]: a refresh at c serves up to n, where the next of `used` refreshes is; n lies after c and leaves room for these
        value = np.where(np.tri(steps, dtype=bool), -np.inf, served[:, :steps] + best)
        value[:, steps - used + 1 :] = -np.inf
        after[used] = value.argmax(axis=1)
        best = value.max(axis=1)
    found = [0]
    for used in range(budget - 1, 0, -1):
        found.append(int(after[used, found[-1]]))
    return found


def value(similarity: F64, refreshes: Sequence[int], objective: Objective = "anchor") -> float:
    """What `solve_acs` makes as large as it can, from its definition."""
    total = 0.0
    for c, n in zip(refreshes, [*refreshes[1:], len(similarity)], strict=True):
        total += sum(
            float(similarity[c, t] if objective == "anchor" else similarity[t, t - 1])
            for t in range(c + (objective != "anchor"), n)
        )
    return total


def _served(s: F64, objective: Objective) -> F64:
    """[T, T + 1]: what a refresh at c gives for the steps c .. n - 1; -inf where n <= c."""
    steps = len(s)
    if objective == "anchor":
        gain = np.triu(s)
    else:
        gain = np.triu(np.broadcast_to(np.diagonal(s, -1), (steps, steps - 1)), 0)
        gain = np.concatenate([np.zeros((steps, 1)), gain], axis=1)
    total = np.concatenate([np.zeros((steps, 1)), np.cumsum(gain, axis=1)], axis=1)
    total[np.tri(steps, steps + 1, dtype=bool)] = -np.inf
    return total
