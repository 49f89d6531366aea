"""`edge plan`: one plan from a demo scene, a recorded window or one's own camera images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from edge.cli.zoo import NANO_PLANNER


@dataclass(frozen=True)
class Plan:
    """Plan 5 s of driving: the plan as JSON on standard output, a table on standard error, a picture in --out."""

    scene: str | None = None
    """demo[:N], a simulated scene, or FILE.npz:NAME:TRACK:STEP, a recorded window."""
    image: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="FILE")] = ()
    """Camera images of your own instead of a scene: --image three times, front left, front, front right."""
    history: Path | None = None
    """JSON file with the ego history that goes with --image."""
    command: str = "GO_STRAIGHT"
    """Route hint that goes with --image: GO_STRAIGHT, GO_LEFT or GO_RIGHT."""
    model: Path = NANO_PLANNER
    """Checkpoint folder."""
    strategy: str = "self-spec"
    """ar, threshold, self-spec, fused, or all for a table of them."""
    rollouts: int = 1
    """Sampled trajectories to choose the likeliest of, decoded together."""
    deadline_ms: float | None = None
    """Milliseconds; sections that do not have to be there are skipped when it would be missed."""
    section: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """A section that has to be there; may be given several times. Without a deadline the others are left out."""
    block_size: int | None = None
    """Rows of a block; the checkpoint's own by default."""
    dtype: str | None = None
    """float32, bfloat16 or float64."""
    out: Path | None = None
    """Folder for the picture and the plan."""
    trace: Path | None = None
    """Write what every forward of the strategy did to this file, a JSON object a line; `edge trace` draws it."""

    def run(self) -> int:
        from edge.cli import planning

        return planning.run(self)
