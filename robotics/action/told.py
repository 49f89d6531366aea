"""What a client is told of a policy, and an observation to warm it up with."""

from __future__ import annotations

from typing import Any

import numpy as np

from robotics.policy.policy import DiffusionPolicy


def metadata(policy: DiffusionPolicy) -> dict[str, Any]:
    """Sizes, tasks and what has to be sent."""
    c = policy.config
    wants = {"state": [c.denoiser.observation_size]}
    if c.sight is not None:
        wants |= {"image": ["height", "width", 3], "prompt": "text"}
    return {
        "schema": "edge.policy/1",
        "observation": wants,
        "observation_steps": c.denoiser.observation_steps,
        "actions": [c.execute, c.denoiser.action_size],
        "tasks": list(c.tasks),
        "sampler": f"{policy.sampler.name}:{len(policy.sampler)}",
    }


def something(policy: DiffusionPolicy) -> dict[str, Any]:
    """An observation in the middle of all that there are."""
    c = policy.config
    out: dict[str, Any] = {"state": ((policy.observations.low + policy.observations.high) / 2).numpy()}
    if c.sight is not None:
        size = c.sight.image_size
        out |= {"image": np.full((size, size, 3), 127, dtype=np.uint8)}
    return out
