"""`edge drive ...`: driving data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg


@dataclass(frozen=True)
class DriveData:
    """Write a training set: scenes from the traffic simulator or a recorded file, rendered and labelled."""

    source: Positional[str]
    """sim, or a recorded FILE.npz."""
    out: Path
    """Folder to write."""
    seeds: str = "0:100"
    """Seeds of simulated scenes, FIRST:END."""
    kinds: tuple[str, ...] = ()
    """Kinds of simulated scenes in turn; by seed if none is named."""
    split: str = "train"
    """Split of a recorded file."""
    only: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="SCENE")] = ()
    """Only this recorded scene; may be given several times."""
    without: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="SCENE")] = ()
    """Leave this recorded scene out; may be given several times."""
    stride: int = 5
    """Steps of 0.1 s between windows."""
    mirror: bool = False
    """Also write every scene mirrored."""
    coding: Literal["cv-offset", "absolute"] = "cv-offset"
    """What the ten trajectory numbers mean: offsets from the constant-velocity path, or metres from the ego."""
    resolution_m: float = 0.1
    """Rounding of trajectory labels in metres."""
    limit: int | None = None
    """At most so many records."""
    workers: int = 1
    """Processes."""

    def run(self) -> int:
        import sys

        from robotics.driving import dataset

        common = {"stride": self.stride, "mirror": self.mirror, "coding": self.coding, "resolution_m": self.resolution_m}
        common |= {"limit": self.limit, "workers": self.workers}
        if self.source == "sim":
            meta = dataset.simulated(self.out, self.seeds, self.kinds, **common)
        else:
            meta = dataset.recorded(self.out, Path(self.source), self.split, only=self.only, without=self.without, **common)
        print(f"edge: wrote {meta['records']} records to {self.out}; dropped: {meta['dropped'] or 'none'}", file=sys.stderr)
        return 0
