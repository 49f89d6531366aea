"""The training loop: explicit, resumable to the byte, one process, few cores.

Killed at any moment and started again with the same arguments, it ends with the same bytes: the state is one atomic file, and
everything random is a function of (seed, step). Timings go to `progress.log` alone.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from edge.core.errors import EdgeError
from edge.training.curve import draw
from edge.training.memory import keep_memory
from edge.training.metrics import truncate
from edge.training.optimiser import Optimiser
from edge.training.progress import Reporter
from edge.training.state import STATE_FILE, TrainState, write_bytes

METRICS_FILE, CURVE_FILE, LOG_FILE, TRAINING_FILE = "metrics.jsonl", "loss.png", "progress.log", "training.json"
BatchT = TypeVar("BatchT")


class TrainingError(EdgeError):
    """The run cannot go on; the message names the step and the records."""


class Schedule(Protocol):
    """What a recipe says of its loop. threads: 0 leaves them as they are; steps between lines, losses held out and checkpoints."""

    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def log_every(self) -> int: ...
    @property
    def eval_every(self) -> int: ...
    @property
    def checkpoint_every(self) -> int: ...
    @property
    def optimiser(self) -> Optimiser: ...


class Means:
    """Running means of named numbers; a name may be missing now and then (a section of which nothing was masked)."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, values: dict[str, float], weight: float = 1.0) -> None:
        for key, value in values.items():
            total, count = self._sums.get(key, (0.0, 0.0))
            self._sums[key] = total + weight * value, count + weight

    def read(self) -> dict[str, float]:
        return {k: round(total / count, 6) for k, (total, count) in self._sums.items()}


class Loop(ABC, Generic[BatchT]):
    """Trains a model in a folder. The next batch is made in a thread of its own while a step is computed."""

    unit = "samples"

    def __init__(self, path: Path, model: nn.Module, schedule: Schedule, *, show: bool = True) -> None:
        """Goes on with the state that the folder holds. Raises CheckpointError when it is that of another model."""
        if schedule.threads:
            torch.set_num_threads(schedule.threads)
        keep_memory()
        self.path, self.model, self.schedule, self.show = path, model, schedule, show
        self.optimiser = schedule.optimiser.make(model)
        self.state = TrainState(model, self.optimiser, schedule.optimiser.ema)
        self.metrics = path / METRICS_FILE
        if (path / STATE_FILE).exists():
            self.state.load(path / STATE_FILE)
        truncate(self.metrics, self.state.step)

    # --- what is trained --------------------------------------------------------------------------------------------------------

    @abstractmethod
    def batch(self, step: int) -> BatchT:
        """The samples of a step; called ahead, from a thread of its own."""

    @abstractmethod
    def loss(self, batch: BatchT, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss, and its parts by name."""

    @abstractmethod
    def name(self, batch: BatchT) -> str:
        """Whose loss it is, for the message when it is not finite."""

    @abstractmethod
    def held_out(self) -> dict[str, float] | None:
        """Losses on samples that are kept for it, with the weights that are exported; None: there are none."""

    @abstractmethod
    def export(self, weights: dict[str, Tensor]) -> None:
        """Replace the checkpoint's weights."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """What `training.json` says beside the command."""

    # --- the loop ---------------------------------------------------------------------------------------------------------------

    def go(self) -> None:
        """Raises TrainingError when a loss or gradient is not finite."""
        schedule, state = self.schedule, self.state
        means = Means()
        log = self.path / LOG_FILE
        reporter = Reporter(self.path.name, state.step, schedule.steps, schedule.batch, log, unit=self.unit, show=self.show)
        with reporter, ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self.batch, state.step)
            while state.step < schedule.steps:
                batch = coming.result()
                coming = ahead.submit(self.batch, state.step + 1)
                values = self._step(batch)
                means.add(values)
                if state.step % schedule.log_every == 0 or state.step == schedule.steps:
                    self._log(means)
                    means = Means()
                reporter.step(state.step, values["loss"])
                if state.step % schedule.checkpoint_every == 0 and state.step < schedule.steps:
                    self._checkpoint()
        self._checkpoint()
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        content = {"schema": "edge.training/1", **self.summary(), "command": command}
        write_bytes(self.path / TRAINING_FILE, (json.dumps(content, indent=2) + "\n").encode())
        (self.path / STATE_FILE).unlink(missing_ok=True)

    def _step(self, batch: BatchT) -> dict[str, float]:
        step = self.state.step
        rate = self.schedule.optimiser.rate(step, self.schedule.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss, parts = self.loss(batch, step)
        value = float(loss.detach())
        self._refuse(math.isfinite(value), "loss", value, batch)
        loss.backward()
        for (
            p
        ) in self.state.parameters.values():  # one that a batch does not reach moves on like the others, or resuming would differ
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.optimiser.clip))
        self._refuse(math.isfinite(norm), "gradient norm", norm, batch)
        self.optimiser.step()
        self.state.advance()
        return {"loss": value, **parts, "grad_norm": norm}

    def _refuse(self, finite: bool, what: str, value: float, batch: BatchT) -> None:
        if not finite:
            which = f"step {self.state.step}: {what} is {value} on records {self.name(batch)}"
            raise TrainingError(f"{which}; lower optimiser.lr, raise warmup or look at these records")

    def _log(self, means: Means) -> None:
        step = self.state.step
        line: dict[str, Any] = {"step": step, "lr": self.schedule.optimiser.rate(step - 1, self.schedule.steps)}
        line |= means.read()
        every = self.schedule.eval_every
        if step == self.schedule.steps or (every and step % every == 0):
            found = self._held_out()
            line |= {} if found is None else {"eval": found}
        with self.metrics.open("a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")

    @torch.no_grad()
    def _held_out(self) -> dict[str, float] | None:
        state = self.state
        live = {k: p.detach().clone() for k, p in state.parameters.items()} if state.average else {}
        for k, t in state.average.items():
            state.parameters[k].copy_(t)
        found = self.held_out()
        for k, t in live.items():
            state.parameters[k].copy_(t)
        return found

    def _checkpoint(self) -> None:
        self.state.save(self.path / STATE_FILE)
        self.export(self.state.exported())
        draw(self.metrics, self.path / CURVE_FILE)
