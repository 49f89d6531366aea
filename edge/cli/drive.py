"""`edge drive ...`: driving data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

if TYPE_CHECKING:
    from robotics.driving.coding import TrajectoryCoding


@dataclass(frozen=True)
class DriveData:
    """Write a training set: scenes of the traffic simulator or a recorded file, rendered and labelled; or recode one."""

    source: Positional[str]
    """sim, a recorded FILE.npz, or a data set folder to write again in another coding."""
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
    coding: Literal["fitted-offset", "cv-offset", "absolute"] = "cv-offset"
    """What the ten trajectory numbers mean: offsets from a fitted or the constant-velocity path, or metres from the ego."""
    reference: Path | None = None
    """The fitted path of fitted-offset, a file of `edge drive reference`."""
    resolution_m: float = 0.1
    """Rounding of trajectory labels in metres."""
    limit: int | None = None
    """At most so many records."""
    workers: int = 1
    """Processes."""

    def run(self) -> int:
        import sys

        from robotics.driving import dataset, recode

        coding = self._coding()
        common = {"stride": self.stride, "mirror": self.mirror, "coding": coding, "limit": self.limit, "workers": self.workers}
        if self.source == "sim":
            meta = dataset.simulated(self.out, self.seeds, self.kinds, **common)
        elif Path(self.source).is_dir():
            meta = recode.recode(Path(self.source), self.out, coding)
        else:
            meta = dataset.recorded(self.out, Path(self.source), self.split, only=self.only, without=self.without, **common)
        print(f"edge: wrote {meta['records']} records to {self.out}; dropped: {meta['dropped'] or 'none'}", file=sys.stderr)
        return 0

    def _coding(self) -> TrajectoryCoding:
        from edge.core.errors import InputError
        from robotics.driving.coding import TrajectoryCoding
        from robotics.driving.recode import load_reference

        if (self.coding == "fitted-offset") != (self.reference is not None):
            raise InputError("--coding fitted-offset comes with --reference FILE, and no other coding does")
        fitted = None if self.reference is None else load_reference(self.reference)
        return TrajectoryCoding(kind=self.coding, resolution_m=self.resolution_m, fitted=fitted)


@dataclass(frozen=True)
class DriveReference:
    """Fit a reference path to training folders: what zeros of a fitted-offset trajectory stand for."""

    folders: Positional[tuple[Path, ...]]
    """Data set folders of training."""
    out: Path
    """File to write."""
    weights: tuple[float, ...] = ()
    """How much a record of each folder counts; 1 if none is given."""

    def run(self) -> int:
        import sys

        from robotics.driving.recode import fit_folders, save_reference

        save_reference(fit_folders(self.folders, self.weights), self.out)
        print(f"edge: wrote {self.out}", file=sys.stderr)
        return 0
