"""Samplers as tables of numbers equal the schedulers of `diffusers`, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edge.core.errors import InputError, UnknownNameError
from robotics.policy.samplers import SAMPLERS, TRAIN_STEPS, sampler

SCHEDULE = {"num_train_timesteps": TRAIN_STEPS, "beta_schedule": "squaredcos_cap_v2"}
STEPS = {"ddpm": (1, 2, 10, 16, 100), "ddim": (1, 2, 10, 16, 100), "dpm": (1, 2, 5, 20, 50), "flow": (1, 2, 10, 100)}


def of_diffusers(name: str, steps: int) -> Any:
    diffusers = pytest.importorskip("diffusers")
    if name == "ddpm":
        made = diffusers.DDPMScheduler(**SCHEDULE, variance_type="fixed_small", clip_sample=True)
    elif name == "ddim":
        made = diffusers.DDIMScheduler(**SCHEDULE, clip_sample=True)
    elif name == "dpm":
        made = diffusers.DPMSolverMultistepScheduler(**SCHEDULE, thresholding=True, sample_max_value=1.0)
    else:
        made = diffusers.FlowMatchEulerDiscreteScheduler()
        made.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
        return made
    made.set_timesteps(steps)
    return made


def network(name: str) -> Callable[[Tensor, float], Tensor]:
    """Something smooth; for dpm it nearly tells the noise of a sample, as a trained network does, so that not all is clipped."""
    mix = torch.linspace(-1, 1, 16, dtype=torch.float64).view(4, 4)
    return lambda x, t: x - 0.1 * torch.tanh(x @ mix + 0.01 * t) if name == "dpm" else torch.tanh(x @ mix + 0.01 * t)


@pytest.mark.parametrize(("name", "steps"), [(n, s) for n, counts in STEPS.items() for s in counts])
def test_equal_to_diffusers(name, steps, monkeypatch) -> None:
    twin, ours, out = of_diffusers(name, steps), sampler(name, steps), network(name)
    assert twin.timesteps.tolist() == pytest.approx(ours.times.tolist())
    noise = torch.randn(steps + 1, 3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = noise[0]
    for i, t in enumerate(twin.timesteps):
        if name == "ddpm":
            monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, i=i, **__: noise[i + 1])
        x = twin.step(out(x, float(ours.times[i])), t, x).prev_sample
    found = ours.run(lambda i, x: out(x, float(ours.times[i])), noise)
    assert float((found - x).abs().max()) <= 2e-5 * max(1.0, float(x.abs().max())), "diffusers keeps its coefficients in float32"
    assert ours.stochastic == (name == "ddpm" and steps > 1)


def test_what_noise_is_asked_for() -> None:
    """One sample where nothing is added on the way; the first step's is where it begins."""
    one = sampler("ddim", 4).run(lambda i, x: torch.zeros_like(x), torch.full((1, 2), 0.5))
    assert one.shape == (2,)
    assert torch.isfinite(one).all()


def test_names_and_steps() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ddim'"):
        sampler("ddin", 3)
    for name in SAMPLERS:
        for steps in (0, 1001):
            with pytest.raises(InputError, match=f"{name}: {steps} denoising steps; choose 1 to"):
                sampler(name, steps)
