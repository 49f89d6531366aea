"""`edge drive closed-loop`: let planners drive, and see what their latency costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge.cli.zoo import NANO_PLANNER


@dataclass(frozen=True)
class DriveClosedLoop:
    """Let the planner drive, beside stop, constant velocity and an oracle; at given latencies and at the measured ones."""

    source: tuple[str, ...] = ("recorded",)
    """recorded (log replay of --data), sim (log replay of simulated scenes), highway-env (traffic that reacts); one or several."""
    data: Path | None = None
    """Recorded traffic; by default the file named by EDGE_DATA."""
    split: str = "val"
    """Split of the recorded file."""
    model: Path = NANO_PLANNER
    """Checkpoint folder."""
    strategy: str = "self-spec"
    """Which lossless strategy computes the plans that are the same with all of them."""
    latency: tuple[str, ...] = ("0",)
    """Milliseconds from what is seen to its plan, one or several; measured: what ar, self-spec and fused take here."""
    remeasure: bool = False
    """Measure latencies again, where they are in --out from an earlier run."""
    references_once: bool = False
    """Let stop, constant velocity and the oracle drive at the least latency alone, which takes a third of the time."""
    episodes: int = 60
    """Episodes of each source."""
    out: Path = Path("out/closed-loop")
    """Folder of finished episodes and the plot. The same command goes on where it was ended."""
    film: int | None = None
    """Only draw the episode of this number (of the first source, from 0) from above, a row for each latency."""
    json: Path | None = None
    """Write the result to this file too."""

    def run(self) -> int:
        import sys

        from edge.bench import closed_loop, record
        from edge.bench.closed_loop_picture import draw
        from edge.bench.closed_loop_rows import show
        from edge.bench.windows import data_path

        data = data_path(self.data) if "recorded" in self.source else None
        if self.film is not None:
            from edge.bench.closed_loop_film import film

            place = self.source[0], self.film, self.episodes, data, self.split
            picture = film(*place, self.model, self.latency, self.out / "film.png", self.strategy)
            print(f"edge: wrote {picture}", file=sys.stderr)
            return 0
        result = closed_loop.bench(
            self.source,
            self.episodes,
            data,
            self.split,
            self.model,
            self.latency,
            self.out,
            self.strategy,
            self.remeasure,
            self.references_once,
        )
        show(result)
        record.write(result, self.json)
        picture = draw(result, self.out / "latency.png")
        print(f"edge: wrote {picture}", file=sys.stderr)
        return 0
