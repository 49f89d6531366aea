"""Training of a policy on demonstrations: the common loop. The folder of a run is a policy from its first second."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge.core.config import load_toml, to_toml
from edge.core.errors import InputError
from edge.training.loop import TRAINING_FILE, Loop
from robotics.policy import checkpoint
from robotics.policy.demonstrations import Demonstrations
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.recipe import PolicyRecipe
from robotics.policy.types import STATE

RECIPE_FILE = "recipe.toml"
HELD_OUT = 512
"""Windows that the held-out loss is measured on."""
Batch = tuple[list[int], dict[str, Tensor]]


def train(recipe: PolicyRecipe, out: str | Path, *, show: bool = True) -> Path:
    """Train into the folder `out` and return it; go on where an interrupted run of the same recipe stopped.

    Raises InputError for demonstrations or a folder that cannot be used, TrainingError when the loss is not finite.
    """
    out = Path(out)
    shown = Demonstrations.load(recipe.data)
    marker = out / RECIPE_FILE
    if marker.exists():
        if load_toml(marker, PolicyRecipe) != recipe:
            raise InputError(f"{out}: holds the run of another recipe (compare {RECIPE_FILE}); choose another folder")
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no run; choose another folder")
    else:
        _set_up(recipe, out, shown)
    if not (out / TRAINING_FILE).exists():
        _Training(recipe, out, shown, show).go()
    return out


def _set_up(recipe: PolicyRecipe, out: Path, shown: Demonstrations) -> None:
    """Fill a folder beside `out` and rename it: there is no half-made run."""
    torch.manual_seed(recipe.seed)
    policy = DiffusionPolicy(recipe.policy(shown.observations.shape[1], shown.actions.shape[1], shown.tasks))
    policy.observations.fit(shown.observations)
    policy.actions.fit(shown.actions)
    work = out.with_name(out.name + ".setup")
    shutil.rmtree(work, ignore_errors=True)
    checkpoint.save(policy, work)
    (work / RECIPE_FILE).write_text(to_toml(recipe), encoding="utf-8")
    if out.exists():
        out.rmdir()
    os.rename(work, out)


class _Training(Loop[Batch]):
    def __init__(self, recipe: PolicyRecipe, out: Path, shown: Demonstrations, show: bool) -> None:
        self.recipe, self.shown = recipe, shown
        self.policy = checkpoint.load(out).train()
        self.learnt, self.kept = shown.split(recipe.eval_share)
        d = self.policy.config.denoiser
        self.weight = torch.ones(d.horizon)
        self.weight[: d.observation_steps - 1] = recipe.past_weight
        super().__init__(out, self.policy, recipe, show=show)

    def batch(self, step: int) -> Batch:
        rng = np.random.default_rng([self.recipe.seed, step])
        frames = self.learnt[rng.integers(len(self.learnt), size=self.recipe.batch)]
        return frames.tolist(), self._windows(frames)

    def _windows(self, frames: Any) -> dict[str, Tensor]:
        d = self.policy.config.denoiser
        found = self.shown.windows(frames, d.observation_steps, d.horizon)
        return {**found, "weight": self.weight.expand(len(found[STATE]), -1)}

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, float]]:
        # dropout draws from the global generator, so this one is set, too
        torch.manual_seed(int(np.random.SeedSequence([self.recipe.seed, step]).generate_state(1)[0]))
        found, _ = self.policy(batch[1])
        return found, {}

    def name(self, batch: Batch) -> str:
        return ", ".join(map(str, batch[0][:4])) + f" and {len(batch[0]) - 4} more"

    def held_out(self) -> dict[str, float] | None:
        if not len(self.kept):
            return None
        frames = self.kept[np.linspace(0, len(self.kept) - 1, min(HELD_OUT, len(self.kept))).astype(int)]
        self.policy.eval()
        found, _ = self.policy(self._windows(frames), torch.Generator().manual_seed(self.recipe.seed))
        self.policy.train()
        return {"loss": round(float(found), 6)}

    def export(self, weights: dict[str, Tensor]) -> None:
        checkpoint.save(self.policy, self.path, weights)

    def summary(self) -> dict[str, Any]:
        return {
            "tasks": list(self.shown.tasks),
            "steps": self.recipe.steps,
            "frames": len(self.learnt),
            "parameters": sum(p.numel() for p in self.policy.parameters()),
        }
