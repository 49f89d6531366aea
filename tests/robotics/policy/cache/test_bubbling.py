"""The union of refreshes, from its definition."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.errors import InputError
from robotics.policy.cache import bubbling_union
from robotics.policy.cache.bubbling import most_changing

SETS = [[0, 1], [0, 2], [0, 3], [0, 4], [0, 5], [0, 6]]
"""Two layers; the feed-forward networks are units 2 and 5."""


@pytest.mark.parametrize(
    ("selected", "expected"),
    [
        ([], SETS),
        ([0], [[0, 1, 3, 6], *SETS[1:]]),
        ([4], [*SETS[:4], [0, 5, 6], SETS[5]]),
        ([5], SETS),
        ([2, 0], [[0, 1, 3, 6], SETS[1], [0, 3, 6], *SETS[3:]]),
    ],
)
def test_by_hand(selected, expected) -> None:
    assert bubbling_union(SETS, selected) == expected


def test_no_order_matters() -> None:
    """One unit after the other, each taking over what those downstream have grown to: the authors' code goes from the shallowest
    on, another implementation from the deepest.
    """
    rng = np.random.default_rng(0)
    for _ in range(200):
        layers = int(rng.integers(1, 5))
        sets = [sorted({0, *rng.integers(0, 20, 3).tolist()}) for _ in range(3 * layers)]
        selected = [int(u) for u in rng.permutation(3 * layers)[: rng.integers(0, 3 * layers + 1)]]
        grown = [set(s) for s in sets]
        for u in selected:
            for v in range(3 * layers):
                if v % 3 == 2 and v // 3 >= u // 3:
                    grown[u] |= grown[v]
        assert bubbling_union(sets, selected) == [sorted(s) for s in grown]


def test_most_changing() -> None:
    assert most_changing([0.1, 3.0, 2.0, 3.0], 2) == [1, 3]
    assert most_changing([1.0, 1.0, 1.0], 2) == [0, 1]
    assert most_changing([1.0], 0) == []
    with pytest.raises(InputError, match="of 1 units"):
        most_changing([1.0], 2)


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="a layer has 3 units"):
        bubbling_union(SETS[:4], [0])
    with pytest.raises(InputError, match="unit 6"):
        bubbling_union(SETS, [6])
