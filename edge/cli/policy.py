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
    first: int = 0
    """Seed of the first episode."""
    pictures: int = 0
    """Pixels of a picture's side, a multiple of 28; 0: none. They come with instructions and answers, to train a model on."""
    workers: int = 2
    """Processes."""

    def run(self) -> int:
        import sys

        from robotics.policy.arena.collect import collect
        from robotics.policy.arena.instructions import SEEN_TASKS
        from robotics.policy.arena.metaworld import TASKS

        tasks = self.tasks or (SEEN_TASKS if self.pictures else TASKS)
        meta = collect(tasks, self.episodes, self.out, first=self.first, size=self.pictures, workers=self.workers)
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
    words: str | None = None
    """What a policy that sees is told in place of the task's own words; "" for nothing."""
    blind: bool = False
    """Show black pictures to a policy that sees."""
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
        from edge.core.errors import InputError
        from robotics.policy.checkpoint import load

        config = load(self.model).config
        tasks = self.tasks or config.tasks
        if config.sight is None and (self.words is not None or self.blind):
            raise InputError(f"{self.model}: a policy that neither sees nor is told; leave out --words and --blind")
        entry = Entry(self.model, self.sampler or f"{config.sampler}:{config.steps}", self.cache, self.words, self.blind)
        with TemporaryDirectory() as folder:
            observations = prepared(self.model, Path(folder) / "queries.safetensors")
            acted = act([entry], tasks, self.episodes, self.limit, observations, workers=self.workers)[entry]
        rows = [row(t, [a for a in acted if a.outcome.task == t]) for t in tasks] + [row("all", acted)]
        settings = {"model": str(self.model), "sampler": entry.sampler, "cache": entry.cache, "limit": self.limit}
        settings |= {"words": self.words, "blind": self.blind}
        result = record.report("policy-eval", rows, **settings, workers=self.workers)
        show(result)
        record.write(result, self.json)
        return 0


@dataclass(frozen=True)
class PolicyFilm:
    """Draw an episode as a strip of pictures, with what a policy that sees says of them."""

    model: Path
    """Folder of the policy."""
    out: Path
    """PNG to write."""
    task: str | None = None
    """Of those that it learnt; the first one if none is named."""
    seed: int = 1_000_000
    """Of the episode."""
    frames: int = 6
    words: str | None = None
    """What a policy that sees is told in place of the task's own words."""
    limit: int = 300
    """Steps of an episode."""

    def run(self) -> int:
        import sys

        import torch

        from robotics.policy.checkpoint import load
        from robotics.policy.film import draw, film

        torch.set_num_threads(1)
        policy = load(self.model)
        task = self.task or policy.config.tasks[0]
        shown = film(policy, task, self.seed, self.frames, self.words, self.limit)
        ended = "not done" if shown[-1].step >= self.limit else f"done in {shown[-1].step} steps"
        told = "" if self.words is None else f", told {self.words!r}"
        print(f"edge: wrote {draw(shown, f'{task}, seed {self.seed}{told}: {ended}', self.out)}: {ended}", file=sys.stderr)
        return 0
