"""`edge drive ...`: driving data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

if TYPE_CHECKING:
    from robotics.driving.coding import TrajectoryCoding


_FIELD = {"fitted-offset": "fitted", "network-offset": "network"}


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
    coding: Literal["network-offset", "fitted-offset", "cv-offset", "absolute"] = "cv-offset"
    """What the ten trajectory numbers mean: offsets from a fitted or the constant-velocity path, or metres from the ego."""
    reference: Path | None = None
    """The path of network-offset or fitted-offset, a file of `edge drive reference`."""
    taught: Path | None = None
    """When recoding: write trajectories along these paths, a file of `edge drive teach`, in place of the recorded ones."""
    resolution_m: float = 0.1
    """Rounding of trajectory labels in metres."""
    limit: int | None = None
    """At most so many records."""
    workers: int = 1
    """Processes."""

    def run(self) -> int:
        import sys

        from edge.core.errors import InputError
        from robotics.driving import dataset, recode, teacher

        if self.taught is not None and not Path(self.source).is_dir():
            raise InputError("--taught goes with a data set folder to write again")
        coding = self._coding()
        common = {"stride": self.stride, "mirror": self.mirror, "coding": coding, "limit": self.limit, "workers": self.workers}
        if self.source == "sim":
            meta = dataset.simulated(self.out, self.seeds, self.kinds, **common)
        elif Path(self.source).is_dir():
            meta = recode.recode(Path(self.source), self.out, coding, None if self.taught is None else teacher.load(self.taught))
        else:
            meta = dataset.recorded(self.out, Path(self.source), self.split, only=self.only, without=self.without, **common)
        print(f"edge: wrote {meta['records']} records to {self.out}; dropped: {meta['dropped'] or 'none'}", file=sys.stderr)
        return 0

    def _coding(self) -> TrajectoryCoding:
        from edge.core.errors import InputError
        from robotics.driving.coding import FittedPath, TrajectoryCoding
        from robotics.driving.recode import load_reference

        if self.reference is None:
            if self.coding in ("fitted-offset", "network-offset"):
                raise InputError(f"--coding {self.coding} comes with --reference FILE")
            return TrajectoryCoding(kind=self.coding, resolution_m=self.resolution_m)
        path = load_reference(self.reference)
        kind = "fitted-offset" if isinstance(path, FittedPath) else "network-offset"
        if self.coding != kind:
            raise InputError(f"--coding {self.coding}: {self.reference} holds the path of {kind}; give that coding")
        return TrajectoryCoding.model_validate({"kind": kind, "resolution_m": self.resolution_m, _FIELD[kind]: path})


@dataclass(frozen=True)
class DriveReference:
    """Fit a reference path to training folders: what zeros of a fitted-offset or network-offset trajectory stand for."""

    folders: Positional[tuple[Path, ...]]
    """Data set folders of training."""
    out: Path
    """File to write."""
    weights: tuple[float, ...] = ()
    """How much a record of each folder counts; 1 if none is given."""
    kind: Literal["network", "linear"] = "network"
    """A small network, or a path linear in features of the ego's motion."""

    def run(self) -> int:
        import sys

        from robotics.driving import teacher
        from robotics.driving.recode import fit_folders, save_reference

        fit = teacher.reference if self.kind == "network" else fit_folders
        save_reference(fit(self.folders, self.weights), self.out)
        print(f"edge: wrote {self.out}", file=sys.stderr)
        return 0


@dataclass(frozen=True)
class DriveTeach:
    """Write the paths that a planner is taught: what can be expected from what its cameras show, not the chance of one future."""

    folder: Positional[Path]
    """Data set folder of training; each of its scenes is taught by networks fitted to the others."""
    out: Path
    """File to write."""
    also: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="FOLDER")] = ()
    """A folder to teach as well, without fitting to it; may be given several times."""
    beside: Path | None = None
    """A folder to fit to as well, without teaching it."""
    beside_weight: float = 0.1
    """How much a record of that folder counts."""

    def run(self) -> int:
        import sys

        from robotics.driving import teacher

        taught = teacher.teach(self.folder, self.also, self.beside, self.beside_weight)
        teacher.save(taught, self.out)
        print(f"edge: wrote {len(taught)} paths to {self.out}", file=sys.stderr)
        return 0
