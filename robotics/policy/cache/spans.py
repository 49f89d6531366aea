"""Caches of spans of units: DeepCache and Delta-DiT, on a network whose units are added up.

DeepCache (arXiv 2312.00858) computes the shallow blocks at every step and the deep ones at some. Delta-DiT (arXiv 2406.01125) keeps
what a span of blocks adds, of the rear blocks in the early steps, which draw the outline, and of the front ones in the late steps.
Both are schedules: what units add is what `ScheduledCache` keeps.
"""

from __future__ import annotations

from edge.core.errors import InputError
from robotics.policy.cache.bubbling import KINDS
from robotics.policy.cache.scheduled import ScheduledCache


def deepcache(units: int, steps: int, every: int, first: int = 1, last: int = 0) -> ScheduledCache:
    """first, last: layers that are computed at every step; those between, at every `every`-th.

    Raises InputError for less than one step and for more layers than there are.
    """
    _check(units, every, first + last)
    shallow = {*range(len(KINDS) * first), *range(units - len(KINDS) * last, units)}
    return ScheduledCache([list(range(0, steps, 1 if u in shallow else every)) for u in range(units)], steps)


def delta_dit(units: int, steps: int, every: int, kept: int = 1, switch: float = 0.5) -> ScheduledCache:
    """kept: layers whose sum is taken over, the last ones up to the share `switch` of the steps, then the first ones.

    Raises InputError for less than one step, more layers than there are, and a switch that is no share.
    """
    _check(units, every, kept)
    if not 0 <= switch <= 1:
        raise InputError(f"switch {switch}: a share of the steps; choose 0 to 1")
    turn, size = round(switch * steps), len(KINDS) * kept
    computed = []
    for u in range(units):
        early, late = u >= units - size, u < size
        at = [t for t in range(steps) if t % every == 0 or not (early if t < turn else late)]
        computed.append(at)
    return ScheduledCache(computed, steps)


def _check(units: int, every: int, layers: int) -> None:
    if every < 1 or not 0 <= layers <= units // len(KINDS):
        raise InputError(f"every {every}, {layers} layers of {units // len(KINDS)}: count steps from 1, and layers that there are")
