"""Training of a policy on demonstrations: the common loop. The folder of a run is a policy from its first second."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge.core.config import load_toml, to_toml
from edge.core.errors import InputError
from edge.engine import Engine
from edge.training.loop import CURVE_FILE, LOG_FILE, METRICS_FILE, TRAINING_FILE, Loop
from edge.training.state import STATE_FILE
from robotics.policy import checkpoint
from robotics.policy.arena.demonstrations import Demonstrations
from robotics.policy.checkpoint import MODEL_FOLDER
from robotics.policy.memory import memory_of
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.recipe import PolicyRecipe
from robotics.policy.types import STATE
from robotics.policy.vla import Eyes, VLAPolicy

RECIPE_FILE = "recipe.toml"
_OF_A_RUN = (METRICS_FILE, CURVE_FILE, LOG_FILE, TRAINING_FILE, STATE_FILE, RECIPE_FILE)
"""Files of a model's folder that tell of its training."""
HELD_OUT = 512
"""Windows that the held-out loss is measured on."""
Batch = tuple[list[int], dict[str, Tensor]]


def train(recipe: PolicyRecipe, out: str | Path, *, show: bool = True) -> Path:
    """Train into the folder `out` and return it; go on where an interrupted run of the same recipe stopped.

    Raises InputError for demonstrations or a folder that cannot be used, TrainingError when the loss is not finite.
    """
    out = Path(out)
    shown = Demonstrations.load(recipe.data)
    if recipe.sight is not None:
        shown = replace(shown, observations=shown.observations[:, : recipe.sight.features])
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
    work = out.with_name(out.name + ".setup")
    shutil.rmtree(work, ignore_errors=True)
    size = 0
    if recipe.sight is not None:
        size = memory_of(recipe.data, recipe.sight.model, Eyes(Engine.load(recipe.sight.model), recipe.sight.rows)).shape[2]
        shutil.copytree(recipe.sight.model, work / MODEL_FOLDER, ignore=shutil.ignore_patterns(*_OF_A_RUN))
    policy = DiffusionPolicy(recipe.policy(shown.observations.shape[1], shown.actions.shape[1], shown.tasks, size))
    policy.observations.fit(shown.observations)
    policy.actions.fit(shown.actions)
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
        self.memory = None
        if isinstance(self.policy, VLAPolicy) and recipe.sight is not None:
            self.memory = memory_of(recipe.data, out / MODEL_FOLDER, self.policy.eyes, show)
        super().__init__(out, self.policy, recipe, show=show)

    def batch(self, step: int) -> Batch:
        rng = np.random.default_rng([self.recipe.seed, step])
        frames = self.learnt[rng.integers(len(self.learnt), size=self.recipe.batch)]
        return frames.tolist(), self._windows(frames)

    def _windows(self, frames: Any) -> dict[str, Tensor]:
        d = self.policy.config.denoiser
        found = self.shown.windows(frames, d.observation_steps, d.horizon)
        if self.memory is not None and self.recipe.sight is not None:
            back = np.arange(self.recipe.sight.frames)[::-1] * self.recipe.execute
            at = np.maximum(frames[:, None] - back, self.shown.first[frames][:, None])
            found["memory"] = torch.from_numpy(self.memory[at].astype(np.float32)).flatten(1, 2)
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
        half = torch.float16 if self.recipe.precision == "float16" else None
        checkpoint.save(self.policy, self.path, weights, half)

    def summary(self) -> dict[str, Any]:
        return {
            "tasks": list(self.shown.tasks),
            "steps": self.recipe.steps,
            "frames": len(self.learnt),
            "parameters": sum(p.numel() for p in self.policy.parameters()),
        }
