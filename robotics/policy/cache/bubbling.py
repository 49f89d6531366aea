"""Bubbling union: units above a feed-forward network are refreshed whenever it is (BAC, arXiv 2506.13456, section 4.3).

A feed-forward network that is computed anew from an input in which stale outputs of the units before it are added up bakes their
error in: the error surges at its refreshes. So the units that change most take over the refreshes of all feed-forward networks
downstream of them. The order in which they do makes no difference: what lies downstream of a unit downstream lies downstream.

Units are numbered as they are computed: 3 a layer (self-attention, cross-attention, feed-forward network). Shapes: `U` units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge.core.errors import InputError

KINDS = ("self", "cross", "feed")
"""Units of a layer, in the order in which they are computed."""
FEED = KINDS.index("feed")


def bubbling_union(schedules: Sequence[Sequence[int]], selected: Sequence[int]) -> list[list[int]]:
    """The schedules of all units after the union, ascending.

    schedules: refreshes of every unit, U lists; selected: the units that take over those of the feed-forward networks in their own
    and all later layers. They may so exceed the budget they were solved for. Raises InputError for a number of units that is no
    multiple of 3 and a selected unit outside them.
    """
    if len(schedules) % len(KINDS):
        raise InputError(f"{len(schedules)} schedules: a layer has {len(KINDS)} units ({', '.join(KINDS)}); give one for each")
    outside = [u for u in selected if not 0 <= u < len(schedules)]
    if outside:
        raise InputError(f"unit {outside[0]}: units are numbered 0 to {len(schedules) - 1}; choose among these")
    out = [set(s) for s in schedules]
    for u in selected:
        out[u] = out[u].union(*(schedules[v] for v in range(u - u % len(KINDS) + FEED, len(out), len(KINDS))))
    return [sorted(s) for s in out]


def most_changing(changes: Any, count: int) -> list[int]:
    """The `count` units that change most over the denoising steps, ascending: the upstream set of the union.

    changes: [U], mean absolute difference of a unit's outputs over all pairs of steps of an uncached run. Raises InputError for
    a count outside 0 .. U.
    """
    found = np.asarray(changes, dtype=np.float64)
    if not 0 <= count <= len(found):
        raise InputError(f"count {count}: of {len(found)} units; choose 0 to {len(found)}")
    return sorted(int(u) for u in np.argsort(-found, kind="stable")[:count])
