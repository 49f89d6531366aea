"""`edge drive submit`: plans for a WOD-E2E test set, packed for the challenge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class DriveSubmit:
    """Plan every frame of WOD-E2E shards and write the challenge's tar.gz."""

    source: Positional[Path]
    """A *.tfrecord file or a folder of them."""
    out: Path
    """File to write, .tar.gz."""
    info: Path
    """TOML with account_name, unique_method_name, uses_public_model_pretraining, num_model_parameters and what else the challenge
    asks for."""
    model: Path | None = None
    """Checkpoint folder; the nano planner if not given."""
    frames: Path | None = None
    """JSON list with the names of the frames wanted; all if not given."""
    split: str | None = None
    """train, val or test, by the files' names; all files if not given."""
    strategy: str = "self-spec"
    """How to decode."""
    rollouts: int = 1
    """Sampled trajectories to choose the likeliest of."""
    shards: int = 1
    """Files in the archive."""

    def run(self) -> int:
        import sys

        from edge.cli.zoo import NANO_PLANNER
        from edge.core.config import load_toml
        from edge.core.progress import progress
        from robotics.driving.damage import Damage
        from robotics.driving.data.sources import wod_files
        from robotics.driving.data.submission import SubmissionInfo, write_submission
        from robotics.driving.data.submit import frame_list, predicted
        from robotics.driving.planner import Planner

        info = load_toml(self.info, SubmissionInfo)
        wanted = None if self.frames is None else frame_list(self.frames)
        files = wod_files(str(self.source), self.split)
        planner = Planner.load(self.model or NANO_PLANNER)
        options = {"strategy": self.strategy, "rollouts": self.rollouts}
        found, told = {}, []
        shards = progress(files, len(files), "shards")
        for item in predicted(shards, planner, planner.config.image_size, wanted, **options):
            if isinstance(item, Damage):
                told.append(str(item))
                continue
            found[item.name] = item.xy
            if item.why:
                told.append(f"{item.name}: constant velocity: {item.why}")
        missing = sorted((wanted or frozenset()) - found.keys())
        told += [f"{name}: wanted, and not in the files" for name in missing]
        write_submission(self.out, info, found, self.shards)
        for line in told:
            print(f"edge: {line}", file=sys.stderr)
        print(f"edge: wrote {len(found)} predictions to {self.out}; {len(told)} remarks", file=sys.stderr)
        return 3 if missing else 0
