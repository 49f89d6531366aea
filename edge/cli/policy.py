"""`edge policy ...`: diffusion policies of robots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class PolicyCollect:
    """Let scripted experts of Meta-World demonstrate tasks, and write what they saw and did."""

    out: Path
    """Folder to write; a stopped collection goes on with the tasks that are missing."""
    tasks: tuple[str, ...] = ()
    """Tasks of Meta-World, without their version; the six of the shipped policies if none is named."""
    episodes: int = 200
    """Tried of each task; those in which the expert fails are left out."""
    workers: int = 2
    """Processes."""

    def run(self) -> int:
        import sys

        from robotics.policy.collect import collect
        from robotics.policy.metaworld import TASKS

        meta = collect(self.tasks or TASKS, self.episodes, self.out, workers=self.workers)
        for task in meta["tasks"]:
            kept, frames = meta["kept"][task], meta["frames"][task]
            print(f"edge: {task}: {kept} of {self.episodes} episodes, {frames} frames", file=sys.stderr)
        return 0


@dataclass(frozen=True)
class PolicyTrain:
    """Train a policy on demonstrations by a recipe; a killed run goes on where its last checkpoint stands."""

    recipe: Positional[Path]
    """TOML file."""
    out: Path
    """Folder of the policy."""
    data: Path | None = None
    """Demonstrations in place of the recipe's."""
    resume: bool = False
    """Insist that there is a run to go on with."""

    def run(self) -> int:
        from edge.core.config import load_toml
        from edge.core.errors import InputError
        from edge.training.state import STATE_FILE
        from robotics.policy.recipe import PolicyRecipe
        from robotics.policy.train import train

        recipe = load_toml(self.recipe, PolicyRecipe, {"data": str(self.data)} if self.data else None)
        if self.resume and not (self.out / STATE_FILE).exists():
            raise InputError(f"{self.out}: nothing to resume there; leave out --resume to start")
        train(recipe, self.out)
        return 0


@dataclass(frozen=True)
class PolicyEval:
    """Let a policy act in episodes that it has never seen: success by task with intervals, and what a chunk takes."""

    model: Path
    """Folder of the policy."""
    tasks: tuple[str, ...] = ()
    """Of those that it learnt; all of them if none is named."""
    episodes: int = 50
    """Of each task."""
    limit: int = 300
    """Steps of an episode."""
    sampler: str | None = None
    """SAMPLER:STEPS, such as ddim:10, ddpm:100, dpm:8 or flow:10, in place of the policy's own."""
    cache: str = "none"
    """METHOD:NUMBER, such as bac:5, uniform:10, taylor:4 or zeus:3."""
    workers: int = 2
    """Processes, of one thread each."""
    json: Path | None = None
    """Write the result there too."""

    def run(self) -> int:
        from tempfile import TemporaryDirectory

        from edge.bench import record
        from edge.bench.policy.entries import Entry, prepared
        from edge.bench.policy.success import act, row
        from edge.bench.policy.table import show
        from robotics.policy.checkpoint import load

        config = load(self.model).config
        tasks = self.tasks or config.tasks
        entry = Entry(self.model, self.sampler or f"{config.sampler}:{config.steps}", self.cache)
        with TemporaryDirectory() as folder:
            observations = prepared(self.model, Path(folder) / "observations.pt")
            acted = act([entry], tasks, self.episodes, self.limit, observations, workers=self.workers)[entry]
        rows = [row(t, [a for a in acted if a.outcome.task == t]) for t in tasks] + [row("all", acted)]
        settings = {"model": str(self.model), "sampler": entry.sampler, "cache": entry.cache, "limit": self.limit}
        result = record.report("policy-eval", rows, **settings, workers=self.workers)
        show(result)
        record.write(result, self.json)
        return 0
