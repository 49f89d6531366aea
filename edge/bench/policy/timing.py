"""What a chunk takes: every entry once a round, one process, one thread; a machine whose speed drifts slows all alike."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from edge.bench.policy.entries import Bench, Entry
from edge.core.progress import progress
from robotics.policy.policy import attached
from robotics.policy.types import Queries

WARM_UP = 2
"""Rounds that are not counted."""


def milliseconds(bench: Bench, chosen: Sequence[Entry], seen: Queries, rounds: int, show: bool = True) -> dict[Entry, list[float]]:
    """Of one chunk, `rounds` times. seen: what is asked, in turn."""
    torch.set_num_threads(1)
    out: dict[Entry, list[float]] = {e: [] for e in chosen}
    for n in progress(range(rounds + WARM_UP), rounds + WARM_UP, "timing", show):
        turn = n % len(chosen)
        for entry in [*chosen[turn:], *chosen[:turn]]:
            policy, cache = bench.ready(entry)
            noise = policy.noise(1, torch.Generator().manual_seed(n))
            _ = policy.clock  # made once a sampler, so no part of a chunk
            with attached(policy, cache):
                begin = time.perf_counter()
                policy.sample(seen[n % len(seen)], noise)
                spent = time.perf_counter() - begin
            if n >= WARM_UP:
                out[entry].append(1000 * spent)
    return out


def summary(ms: Sequence[float]) -> dict[str, float]:
    low, middle, high = np.quantile(ms, [0.25, 0.5, 0.75])
    return {"ms": float(middle), "ms_iqr": float(high - low)}
