"""Schedules from statistics: BAC and what it is compared with.

`uniform`: all units every so many steps (FORA). `unified`: one adaptive schedule for all units, from their mean similarity.
`block-wise`: an adaptive one for each unit (BAC without the union). `bac`: with it. All of them are given a number of refreshes for
each unit; the union goes beyond it, and so do their unit evaluations, which is why they are counted and not the refreshes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError, UnknownNameError
from robotics.policy.cache.acs import Objective, solve_acs, value
from robotics.policy.cache.bubbling import bubbling_union, most_changing
from robotics.policy.cache.schedule import Schedule
from robotics.policy.cache.statistics import Statistics

METHODS = ("uniform", "unified", "block-wise", "bac")
UPSTREAM = 4
"""Units that take over the refreshes of feed-forward networks behind them (the paper has 3 to 5 of 24)."""


def solve(
    statistics: Statistics, method: str, budget: int, *, objective: Objective = "anchor", upstream: int = UPSTREAM, queries: int = 0
) -> Schedule:
    """A schedule of `budget` refreshes a unit. queries: so many of the recorded ones, from the first on; 0: all.

    Raises UnknownNameError for a method, InputError for a budget or number of units or queries that does not exist.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    recorded = len(statistics.similarity)
    if not 0 <= queries <= recorded:
        raise InputError(f"queries {queries}: {recorded} are recorded; choose at most these, 0 for all")
    taken = queries or recorded
    similarity = statistics.similarity[:taken].astype(np.float64).mean(axis=0)  # [U, T, T]
    units, steps = similarity.shape[:2]
    settings: dict[str, object] = {"budget": budget}
    if method == "uniform":
        if not 1 <= budget <= steps:
            raise InputError(f"budget {budget}: refreshes are counted from 1 to the {steps} denoising steps; choose one of these")
        refreshes = [[i * steps // budget for i in range(budget)]] * units
    else:
        settings |= {"objective": objective, "queries": taken}
        if method == "unified":
            refreshes = [solve_acs(similarity.mean(axis=0), budget, objective)] * units
        else:
            refreshes = [solve_acs(s, budget, objective) for s in similarity]
        if method == "bac":
            chosen = most_changing(statistics.changes[:taken].mean(axis=0), upstream)
            refreshes = bubbling_union(refreshes, chosen)
            settings["upstream"] = chosen
    return Schedule(
        fingerprint=statistics.fingerprint,
        sampler=statistics.sampler,
        steps=statistics.steps,
        method=method,
        settings=settings,
        refreshes=tuple(tuple(r) for r in refreshes),
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """How schedules solved from one query each differ from the one solved from all of them, without the union.

    agreement: [U], mean share of the refreshes that both have (the first step, which all have, is left out); frequency: [U, T], in
    how many of the queries' schedules a step is a refresh; upstream: [U], in how many of them a unit is among the most changing;
    served_by_one, served_by_all: [U], mean cosine over all queries of a step and the refresh that serves it, by the schedule of one
    query (mean over these) and by that of all.
    """

    agreement: NDArray[np.float64]
    frequency: NDArray[np.float64]
    upstream: NDArray[np.float64]
    served_by_one: NDArray[np.float64]
    served_by_all: NDArray[np.float64]


def spread(statistics: Statistics, budget: int, objective: Objective = "anchor", upstream: int = UPSTREAM) -> Spread:
    """What one query's schedule says of another's. Raises InputError as `solve` does, and for a budget below 2."""
    if budget < 2:
        raise InputError(f"budget {budget}: the only refresh is the first step, there is nothing to compare; choose 2 or more")
    queries, units, steps = statistics.similarity.shape[:3]
    frequency, agreement = np.zeros((units, steps)), np.zeros(units)
    by_one, by_all = np.zeros(units), np.zeros(units)
    for u in range(units):
        mean = statistics.similarity[:, u].astype(np.float64).mean(axis=0)
        joint = solve_acs(mean, budget, objective)
        by_all[u] = value(mean, joint) / steps
        for s in statistics.similarity[:, u]:
            own = solve_acs(s, budget, objective)
            frequency[u, own] += 1 / queries
            agreement[u] += len(set(joint[1:]) & set(own[1:])) / (budget - 1) / queries
            by_one[u] += value(mean, own) / steps / queries
    chosen = np.zeros(units)
    for c in statistics.changes:
        chosen[most_changing(c, upstream)] += 1 / queries
    return Spread(agreement, frequency, chosen, by_one, by_all)
