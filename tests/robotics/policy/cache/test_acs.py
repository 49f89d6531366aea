"""Schedules of single units: equal to a search through all of them."""

from __future__ import annotations

import os
from itertools import combinations

import numpy as np
import pytest

from edge.core.errors import InputError, UnknownNameError
from robotics.policy.cache import solve_acs
from robotics.policy.cache.acs import OBJECTIVES, value

CASES = 200 if os.environ.get("EDGE_CASES") == "small" else 2000


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("whole_numbers", [True, False])
def test_equal_to_brute_force(objective, whole_numbers) -> None:
    """Whole numbers make many schedules equally good: then it is the first of them."""
    rng = np.random.default_rng(0)
    for _ in range(CASES):
        steps = int(rng.integers(1, 10))
        budget = int(rng.integers(1, steps + 1))
        s = rng.integers(-2, 3, (steps, steps)).astype(float) if whole_numbers else rng.normal(size=(steps, steps))
        best = max(([0, *c] for c in combinations(range(1, steps), budget - 1)), key=lambda c: value(s, c, objective))
        assert solve_acs(s, budget, objective) == best


def test_anchor_looks_at_what_is_reused() -> None:
    """Two plateaus: a refresh belongs where the second begins. Its own step's likeness to the one before decides in the other
    form, which puts it where two neighbours differ most.
    """
    s = np.full((6, 6), 0.1)
    s[:4, :4] = s[4:, 4:] = 1.0
    assert solve_acs(s, 2) == [0, 4]
    s[2, 1] = 0.0
    assert solve_acs(s, 2) == [0, 4]
    assert solve_acs(s, 2, "adjacent") == [0, 2]


def test_the_paper_s_objective_telescopes() -> None:
    """With neighbours alone, the schedule is the steps that resemble the one before them least."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        s = rng.normal(size=(12, 12))
        least = np.argsort(np.diagonal(s, -1))[:4] + 1
        assert solve_acs(s, 5, "adjacent") == [0, *sorted(int(t) for t in least)]


def test_all_and_one() -> None:
    s = np.random.default_rng(1).normal(size=(100, 100))
    assert solve_acs(s, 1) == [0]
    assert solve_acs(s, 100) == list(range(100))
    assert len(solve_acs(s, 10)) == 10


@pytest.mark.parametrize("similarity", [np.zeros((2, 3)), np.zeros(3), np.zeros((0, 0)), np.array([[np.nan]])])
def test_what_is_no_matrix_is_refused(similarity) -> None:
    with pytest.raises(InputError, match="finite matrix"):
        solve_acs(similarity, 1)


def test_budgets_and_names() -> None:
    for budget in (0, 4):
        with pytest.raises(InputError, match="from 1 to the 3"):
            solve_acs(np.eye(3), budget)
    with pytest.raises(UnknownNameError, match="did you mean 'anchor'"):
        solve_acs(np.eye(3), 1, "ancor")
