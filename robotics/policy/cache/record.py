"""Statistics of a policy: its own uncached queries, recorded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from robotics.policy.cache.statistics import Recorder, Statistics
from robotics.policy.checkpoint import fingerprint
from robotics.policy.policy import DiffusionPolicy, attached
from robotics.policy.types import Queries


def record(policy: DiffusionPolicy, queries: Queries, seed: int = 0, told: Callable[[int], None] | None = None) -> Statistics:
    """Of the policy's own sampler on queries, each with noise of its own.

    told: called after every query with how many there have been. Raises InputError for observations the policy refuses.
    """
    similarity, changes = [], []
    recorder = Recorder()
    generator = torch.Generator().manual_seed(seed)
    with attached(policy, recorder):
        for n, asked in enumerate(queries, start=1):
            policy.sample(asked, policy.noise(1, generator))
            s, c = recorder.measured()
            similarity.append(s)
            changes.append(c)
            if told:
                told(n)
    name, steps = policy.sampler.name, len(policy.sampler)
    return Statistics(fingerprint(policy), name, steps, np.concatenate(similarity), np.concatenate(changes))
