"""What a policy is, as its folder says it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edge.core.config import Frozen
from robotics.policy.denoiser import DenoiserConfig


class Sight(Frozen):
    """How a policy sees: see `vla`."""

    image_size: Annotated[int, Field(ge=28)] = 112
    """Pixels of a picture's side."""
    frames: Annotated[int, Field(ge=1)] = 1
    """Pictures that it has in mind: the newest, and those of the chunks before."""


class PolicyConfig(Frozen):
    """The form of a policy, and how it acts."""

    denoiser: DenoiserConfig
    objective: Literal["noise", "flow"] = "noise"
    """What the network predicts: the noise of a diffusion, or the velocity of a flow."""
    sampler: str = "ddim"
    steps: Annotated[int, Field(ge=1)] = 10
    execute: Annotated[int, Field(ge=1)] = 4
    """Actions of a chunk that are executed before the next one is asked for."""
    candidates: Annotated[int, Field(ge=1)] = 1
    """Chunks that are sampled in one batch; the one whose past is most like what was done is executed (self-verification of
    past-token prediction, arXiv 2505.09561)."""
    tasks: tuple[str, ...] = ()
    """What it learnt to do, in the order of the features that say what is to be done."""
    sight: Sight | None = None
