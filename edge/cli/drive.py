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

        from robotics.driving.data.convert import convert, summary
        from robotics.driving.data.sources import Choice
        from robotics.driving.recode import is_folder, recode

        coding = self._coding()
        if self.format is None and is_folder(Path(self.source)):
            meta = recode(Path(self.source), self.out, coding)
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
