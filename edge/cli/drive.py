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
    """Write a training set from simulated, recorded or public data: pictures, labels, trajectories; or recode one."""

    source: Positional[str]
    """sim, highway-env, a recorded FILE.npz, WOD-E2E *.tfrecord files, a nuScenes folder, CommonRoad *.xml files, a rosbag or MCAP
    recording; or a data set folder to write again in another coding."""
    out: Path
    """Folder to write."""
    format: Literal["sim", "highway-env", "recorded", "wod-e2e", "nuscenes", "commonroad", "rosbag"] | None = None
    """What the source is; told by its name and what is in it if not given."""
    seeds: str = "0:100"
    """Seeds of simulated scenes, FIRST:END."""
    kinds: tuple[str, ...] = ()
    """Kinds of simulated scenes, or highway-env environments, in turn; by seed, or all, if none is named."""
    split: str | None = None
    """train, val or test (of nuScenes mini, trainval or test); all there is if not given, but train of a recorded file."""
    only: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="SCENE")] = ()
    """Only this recorded scene; may be given several times."""
    without: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="SCENE")] = ()
    """Leave this recorded scene out; may be given several times."""
    topic: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="CAMERA=NAME")] = ()
    """Topic of a recording, such as front=/camera/image or odometry=/odom, where its name does not tell."""
    stride: int = 5
    """Steps of 0.1 s between windows; of WOD-E2E every frame is one."""
    min_move_m: float = 5.0
    """Least way of the ego over the 7 s of a window; 0 keeps those who stand."""
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
        from robotics.driving import teacher
        from robotics.driving.data.convert import convert, summary
        from robotics.driving.data.sources import Choice
        from robotics.driving.recode import is_folder, recode

        if self.taught is not None and not Path(self.source).is_dir():
            raise InputError("--taught goes with a data set folder to write again")
        coding = self._coding()
        if self.format is None and is_folder(Path(self.source)):
            meta = recode(Path(self.source), self.out, coding, None if self.taught is None else teacher.load(self.taught))
        else:
            choice = Choice(
                split=self.split,
                only=self.only,
                without=self.without,
                seeds=self.seeds,
                kinds=self.kinds,
                topics=self.topic,
                stride_steps=self.stride,
            )
            meta = convert(
                self.source,
                self.out,
                format_=self.format,
                choice=choice,
                coding=coding,
                mirror=self.mirror,
                min_move_m=self.min_move_m,
                limit=self.limit,
                workers=self.workers,
            )
        for line in summary(meta, self.out):
            print(f"edge: {line}", file=sys.stderr)
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
