"""The training loop: explicit, resumable to the byte, one process, few cores.

A run is a folder. It holds a loadable checkpoint from its first second, the recipe, `metrics.jsonl` and `loss.png`. Killed at any
moment and started again with the same arguments, it ends with the same bytes: the state is one atomic file, and everything random
is a function of (seed, step). Timings go to `progress.log` alone.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from converters.data import Batch, Corpus
from converters.forward import Forward
from converters.objective import NextToken, Objective
from converters.recipe import Recipe, with_data
from converters.run import TRAINING_FILE, Run, quiet
from edge.core.errors import EdgeError
from edge.training.curve import draw
from edge.training.memory import keep_memory
from edge.training.metrics import truncate
from edge.training.progress import Reporter
from edge.training.state import STATE_FILE, TrainState, write_bytes

METRICS_FILE, CURVE_FILE, LOG_FILE = "metrics.jsonl", "loss.png", "progress.log"


class TrainingError(EdgeError):
    """The run cannot go on; the message names the step and the records."""


def train(recipe: Recipe, out: str | Path, data: Sequence[Path] | None = None, *, show: bool = True) -> Path:
    """Train into the folder `out` and return it; go on where an interrupted run of the same recipe stopped.

    data: folders that replace the recipe's; show: print progress. Raises InputError for a recipe, data or folder that cannot be
    used, CheckpointError for a base that cannot, TrainingError when the loss is not finite.
    """
    recipe = recipe if data is None else with_data(recipe, data)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    keep_memory()
    with quiet():
        run = Run.prepare(recipe, Path(out))
        if not run.finished:
            _Loop(run, show).go()
    return run.path


class _Means:
    """Running means of named numbers; a name may be missing now and then (a section of which nothing was masked)."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, values: dict[str, float], weight: float = 1.0) -> None:
        for key, value in values.items():
            total, count = self._sums.get(key, (0.0, 0.0))
            self._sums[key] = total + weight * value, count + weight

    def read(self) -> dict[str, float]:
        return {k: round(total / count, 6) for k, (total, count) in self._sums.items()}


class _Loop:
    def __init__(self, run: Run, show: bool) -> None:
        self.run, self.recipe, self.show = run, run.recipe, show
        self.corpus = Corpus.read(self.recipe.data, run.tokenizer, run.scaffold)
        self.held_out = Corpus.read(self.recipe.eval_data, run.tokenizer, run.scaffold) if self.recipe.eval_data else None
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(run.path, dtype=torch.float32)
        dtype = torch.bfloat16 if self.recipe.precision == "bf16-autocast" else torch.float32
        self.forward = Forward(self.model, run.image_size, dtype)
        self.objective = _objective(self.recipe, run, self.forward)
        self.optimiser = self.recipe.optimiser.make(self.model)
        self.state = TrainState(self.model, self.optimiser, self.recipe.optimiser.ema)
        self.metrics = run.path / METRICS_FILE
        if (run.path / STATE_FILE).exists():
            self.state.load(run.path / STATE_FILE)
        truncate(self.metrics, self.state.step)

    def go(self) -> None:
        recipe, state = self.recipe, self.state
        means = _Means()
        reporter = Reporter(self.run.path.name, state.step, recipe.steps, recipe.batch, self.run.path / LOG_FILE, show=self.show)
        with reporter, ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self._batch, state.step)
            while state.step < recipe.steps:
                batch = coming.result()
                coming = ahead.submit(self._batch, state.step + 1)
                values = self._step(batch)
                means.add(values)
                if state.step % recipe.log_every == 0 or state.step == recipe.steps:
                    self._log(means)
                    means = _Means()
                reporter.step(state.step, values["loss"])
                if state.step % recipe.checkpoint_every == 0 and state.step < recipe.steps:
                    self._checkpoint()
        self._checkpoint()
        self._finish()

    def _batch(self, step: int) -> Batch:
        recipe = self.recipe
        records = self.corpus.chosen(recipe.seed, step, recipe.batch)
        shares = {"strength": recipe.jitter, "dropout": recipe.prompt_dropout, "blank": recipe.image_dropout}
        return self.corpus.batch(records, **shares, seed=(recipe.seed, step))

    def _step(self, batch: Batch) -> dict[str, float]:
        recipe, step = self.recipe, self.state.step
        rate = recipe.optimiser.rate(step, recipe.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.objective(batch, (recipe.seed, step), step / recipe.steps)
        value = float(loss.total.detach())
        if not math.isfinite(value):
            raise TrainingError(_diverged("loss", value, step, batch))
        loss.total.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.optimiser.clip))
        if not math.isfinite(norm):
            raise TrainingError(_diverged("gradient norm", norm, step, batch))
        self.optimiser.step()
        self.state.advance()
        return {"loss": value, **loss.parts, "grad_norm": norm}

    def _log(self, means: _Means) -> None:
        step = self.state.step
        line: dict[str, Any] = {"step": step, "lr": self.recipe.optimiser.rate(step - 1, self.recipe.steps)}
        line |= means.read()
        every = self.recipe.eval_every
        if self.held_out and (step == self.recipe.steps or (every and step % every == 0)):
            line["eval"] = self._evaluate()
        with self.metrics.open("a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        """Mean losses on held-out records, with the weights that are exported and always the same noise."""
        assert self.held_out is not None
        count = min(self.recipe.eval_records, len(self.held_out))
        records = [i * len(self.held_out) // count for i in range(count)]
        live = {k: p.detach().clone() for k, p in self.state.parameters.items()} if self.state.average else {}
        for k, t in self.state.average.items():
            self.state.parameters[k].copy_(t)
        means = _Means()
        blind = float(self.recipe.blind)  # who never sees is measured without seeing
        for first in range(0, count, self.recipe.batch):
            part = records[first : first + self.recipe.batch]
            loss = self.objective(self.held_out.batch(part, blank=blind), (self.recipe.seed, first, 1), 1.0)
            means.add({"loss": float(loss.total), **loss.parts}, len(part))
        for k, t in live.items():
            self.state.parameters[k].copy_(t)
        return means.read()

    def _checkpoint(self) -> None:
        self.state.save(self.run.path / STATE_FILE)
        self.run.export(self.state.exported())
        draw(self.metrics, self.run.path / CURVE_FILE)

    def _finish(self) -> None:
        content = {
            "schema": "edge.training/1",
            "stage": self.recipe.stage,
            "blind": self.recipe.blind,
            "steps": self.recipe.steps,
            "records": len(self.corpus),
            "records_per_epoch": self.corpus.deck_size,
            "answer_rows": len(self.run.scaffold),
            "frozen_rows": int(self.run.scaffold.frozen.sum()),
            "prompt_rows": sorted({len(p) for p in self.corpus.prompts}),
            "parameters": sum(p.numel() for p in self.state.parameters.values()),
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        }
        write_bytes(self.run.path / TRAINING_FILE, (json.dumps(content, indent=2) + "\n").encode())
        (self.run.path / STATE_FILE).unlink(missing_ok=True)


def _objective(recipe: Recipe, run: Run, forward: Forward) -> Objective:
    if recipe.stage == "ar":
        return NextToken(recipe, run.scaffold, forward)
    from converters.convert import BlockDiffusion

    return BlockDiffusion(recipe, run.scaffold, forward, run.spec)


def _diverged(what: str, value: float, step: int, batch: Batch) -> str:
    ids = ", ".join(batch.ids[:4]) + (f" and {len(batch.ids) - 4} more" if len(batch.ids) > 4 else "")
    return f"step {step}: {what} is {value} on records {ids}; lower optimiser.lr, raise warmup or look at these records"
