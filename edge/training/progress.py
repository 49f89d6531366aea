"""What a person sees of a run: a bar with rate and remaining time on a terminal, a plain line now and then elsewhere.

Nothing timed goes into the run's reproducible files; lines also go to `progress.log`.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_S = 15.0


class Reporter:
    """Context manager around the loop. batch: samples of a step, for the rate; unit: what a sample is."""

    def __init__(
        self, name: str, first: int, steps: int, batch: int, log: Path, *, unit: str = "windows", show: bool = True
    ) -> None:
        self.console = Console(stderr=True, quiet=not show)
        self.name, self.first, self.steps, self.batch, self.log, self.unit = name, first, steps, batch, log, unit
        self._bar: Progress | None = None
        if show and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task(name, total=steps, completed=first, note="")
        self._began = self._said = self._mark = time.monotonic()
        self._marked = first

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, done: int, loss: float) -> None:
        """`done` steps are done; `loss` is that of the last one."""
        now = time.monotonic()
        last = done == self.steps
        if not last and now - self._said < (0.5 if self._bar else LINE_S) and now - self._mark < LINE_S:
            return
        rate = self.batch * (done - self._marked) / max(1e-9, now - self._mark)
        if self._bar:
            self._bar.update(self._task, completed=done, note=f"loss {loss:.3f}, {rate:.1f} {self.unit}/s")
        self._said = now
        if last or now - self._mark >= LINE_S:
            left = (self.steps - done) * (now - self._began) / max(1, done - self.first)
            line = f"{self.name} step {done}/{self.steps} loss {loss:.4f} {rate:.1f} {self.unit}/s, {left / 60:.1f} min left"
            if not self._bar:
                self.console.print(line, highlight=False)
            with self.log.open("a", encoding="utf-8") as f:
                f.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
            self._mark, self._marked = now, done
