"""A policy with random weights, large enough that every part of it matters."""

from __future__ import annotations

import torch

from robotics.policy.config import PolicyConfig
from robotics.policy.denoiser import DenoiserConfig
from robotics.policy.policy import DiffusionPolicy

STATE = 5


def tiny(seed: int = 0, sampler: str = "ddim", steps: int = 8, **more: object) -> DiffusionPolicy:
    torch.manual_seed(seed)
    form = {
        "action_size": 3,
        "observation_size": STATE,
        "horizon": 6,
        "observation_steps": 2,
        "layers": 2,
        "heads": 2,
        "hidden": 16,
    }
    objective = "flow" if sampler == "flow" else "noise"
    denoiser = DenoiserConfig(**form | more)
    execute = min(4, denoiser.horizon - denoiser.observation_steps + 1)
    config = PolicyConfig(denoiser=denoiser, sampler=sampler, steps=steps, objective=objective, execute=execute)
    policy = DiffusionPolicy(config).eval()
    with torch.no_grad():
        for p in policy.denoiser.parameters():
            p.add_(torch.randn_like(p) * 0.3)
    return policy


def observations(batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 2, STATE, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)
