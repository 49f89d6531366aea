"""Observations that caches are fitted on: those of experts, in episodes that no policy learns from or is judged in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from edge.core.errors import InputError
from robotics.policy.arena.camera import Camera
from robotics.policy.arena.collect import NOISE, demonstrate
from robotics.policy.arena.instructions import job
from robotics.policy.arena.metaworld import CALIBRATION_SEEDS, Arena
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.types import IMAGE, WORDS, Queries

PER_EPISODE = 4
"""Observations taken of an episode: its phases differ, two neighbours hardly do."""


def gathered(policy: DiffusionPolicy, tasks: Sequence[str], count: int, first: int = 0) -> tuple[Queries, Tensor]:
    """`count` queries of every task, and what the expert does from the newest observation on, [N, n, A].

    first: episodes to pass over. Raises InputError for fewer than one, UnknownNameError for a task the policy has not learnt.
    """
    if count < 1:
        raise InputError(f"{count} observations: give at least one of each task")
    config = policy.config
    steps, ahead = config.denoiser.observation_steps, config.execute
    asked, done = [], []
    for task in tasks:
        arena, seed, left = Arena(task, config.tasks), CALIBRATION_SEEDS + first, count
        camera = Camera(arena, config.sight.image_size) if config.sight is not None else None
        while left:
            episode = demonstrate(arena, seed, NOISE[seed % len(NOISE)], camera=camera)
            seed += 1
            if episode is None:
                continue
            last = len(episode.actions) - 1
            for at in np.linspace(0, last, PER_EPISODE + 2).astype(int)[1:-1][:left]:
                seen = episode.observations[np.clip(np.arange(at - steps + 1, at + 1), 0, last)]
                batch = {IMAGE: episode.images[at], WORDS: job(task).sayings[0]} if episode.images is not None else {}
                policy.reset()  # pictures before this one are not remembered
                asked.append(policy.asked(torch.from_numpy(seen[None, :, : config.denoiser.observation_size]), batch))
                done.append(episode.actions[np.clip(np.arange(at, at + ahead), 0, last)])
            left -= min(left, PER_EPISODE)
    return Queries.cat(asked), torch.from_numpy(np.stack(done))
