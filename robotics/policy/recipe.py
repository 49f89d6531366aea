"""How a policy is trained: one TOML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edge.core.config import Frozen
from edge.training.optimiser import Optimiser
from robotics.policy.config import PolicyConfig, Sight
from robotics.policy.denoiser import Count, Form


class SightRecipe(Sight):
    """Eyes of a policy."""

    model: Path
    """Folder of a vision-language model, copied into the policy's."""
    rows: Count = 48
    """Of a picture and its instruction; a shorter prompt leaves some empty."""
    features: Count = 4
    """Of an observation that the policy is given beside the picture, the first so many: hand and gripper."""


class PolicyRecipe(Frozen):
    """One run."""

    data: Path
    """Folder of `edge policy collect`."""
    form: Form = Form()
    sight: SightRecipe | None = None
    objective: str = "noise"
    sampler: str = "ddim"
    denoising_steps: Count = 10
    execute: Count = 4
    steps: Count
    batch: Count = 64
    seed: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=0)] = 1
    """CPU threads; 0: as many as torch takes. Bytes of the result are the same for the same number only."""
    log_every: Count = 50
    eval_every: Annotated[int, Field(ge=0)] = 500
    """Steps between losses on episodes that are kept aside; 0: at the end alone."""
    eval_share: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Share of the episodes that are kept aside."""
    checkpoint_every: Count = 500
    past_weight: Annotated[float, Field(ge=0)] = 1.0
    """What an action counts that lies in the past of the newest observation, against one that does not (past-token prediction)."""
    precision: Literal["float32", "float16"] = "float32"
    """Of the weights that are written; the run's own are float32."""
    optimiser: Optimiser = Optimiser()

    def policy(self, observation_size: int, action_size: int, tasks: Sequence[str], memory_size: int = 0) -> PolicyConfig:
        """The policy's form for these sizes and tasks."""
        denoiser = {**self.form.model_dump(), "observation_size": observation_size, "action_size": action_size}
        sight = None
        if self.sight is not None:
            denoiser |= {"memory_rows": self.sight.rows * self.sight.frames, "memory_size": memory_size}
            sight = {"image_size": self.sight.image_size, "frames": self.sight.frames}
        return PolicyConfig.model_validate(
            {
                "denoiser": denoiser,
                "objective": self.objective,
                "sampler": self.sampler,
                "steps": self.denoising_steps,
                "execute": self.execute,
                "tasks": list(tasks),
                "sight": sight,
            }
        )
