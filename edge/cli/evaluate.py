"""`edge drive eval`: planners and trivial baselines on the same recorded windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from edge.cli.zoo import NANO_PLANNER

CHECK_FAILED = 3


@dataclass(frozen=True)
class DriveEval:
    """Open-loop errors of planners and of trivial baselines on the same windows: table, JSON, pictures."""

    data: Path | None = None
    """File of recorded traffic; the variable EDGE_DATA names it otherwise."""
    split: str = "val"
    """Split to plan."""
    model: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="DIR")] = ()
    """A checkpoint folder; may be given several times. The shipped planner by default."""
    parent: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="DIR")] = ()
    """A parent to compare the models with, decoded with ar; a folder whose training.json says so is one by itself."""
    blind: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="DIR")] = ()
    """A checkpoint folder that takes part without seeing: grey in place of every picture. A folder trained so does by itself."""
    strategy: str = "self-spec"
    """How the models decode."""
    rollouts: tuple[int, ...] = (1,)
    """Sampled trajectories to choose the likeliest of; several numbers are evaluated side by side, 1 is the greedy answer."""
    limit: int | None = None
    """Only so many windows, spread evenly."""
    train: str = "train"
    """Split that the ridge baseline is fitted on."""
    dtype: str = "float32"
    """float32, bfloat16 or float64."""
    workers: int = 2
    """Processes, of one thread each."""
    out: Path | None = None
    """Folder for eval.json, the errors over time as errors.png and the best, median and worst plans as gallery.png."""
    json: Path | None = None
    """Write the result there too."""
    check: bool = False
    """Exit with 3 unless all answers are valid and no model is above the best trivial baseline of a site or 2 % above a parent."""

    def run(self) -> int:
        import sys
        import time

        from edge.bench import record
        from edge.bench.evaluation.entrants import entrants
        from edge.bench.evaluation.measured import evaluate
        from edge.bench.evaluation.report import report
        from edge.bench.evaluation.table import show
        from edge.bench.windows import data_path

        if self.out is not None:
            record.folder(self.out)  # refused before anything slow begins
        start = time.monotonic()
        chosen = entrants(self.model or (NANO_PLANNER,), self.strategy, self.rollouts, self.parent, self.blind)
        measured = evaluate(
            chosen,
            data_path(self.data),
            self.split,
            self.limit,
            train=self.train,
            dtype=self.dtype,
            workers=self.workers,
        )
        wall_s = time.monotonic() - start
        result = report(measured, self.split, self.dtype, self.workers, wall_s)
        show(result)
        record.write(result, self.json)
        print(f"edge: {len(measured.windows)} windows in {wall_s:.0f} s with {self.workers} processes", file=sys.stderr)
        if self.out is not None:
            from edge.bench.evaluation.picture import draw

            record.write(result, self.out / "eval.json")
            for path in draw(measured, result, self.out):
                print(f"edge: wrote {path}", file=sys.stderr)
        return CHECK_FAILED if self.check and result["failures"] else 0
