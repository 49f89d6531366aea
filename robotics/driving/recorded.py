"""Recorded traffic from one npz file: which scenes it holds, and each of them as a `Scene`, read when asked for.

Keys of the file: `names`, `split` [scenes] str; and per scene `<name>/lane_pts` [P, 2] m (left then right bound of each lane,
concatenated), `lane_len` [L, 2] (points in the left and the right bound), `state` [S, 4] (x m, y m, yaw rad, speed m/s),
`idx` [S, 2] (track number, step of 0.1 s), `dims` [K, 2] (length, width of each track, m). Nothing in it is unpickled.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError, UnknownNameError
from robotics.driving.scene import F32, Scene, Track

_COLUMNS = {"lane_pts": 2, "lane_len": 2, "state": 4, "idx": 2, "dims": 2}
"""The arrays of a scene and how many columns each has."""

_REMEDY = "fetch the file again or name another"


@dataclass(frozen=True, slots=True)
class Recorded:
    """The table of contents of a recorded file. The file is opened anew for each scene, so this can cross processes.

    splits: scene name -> split, in the file's order.
    """

    path: Path
    splits: dict[str, str]

    def names(self, split: str | None = None) -> tuple[str, ...]:
        """Scene names of one split ("train", "val"), or of all. Raises UnknownNameError for a split the file does not have."""
        if split is None:
            return tuple(self.splits)
        if split not in self.splits.values():
            raise UnknownNameError("split", split, set(self.splits.values()))
        return tuple(n for n, s in self.splits.items() if s == split)

    def scene(self, name: str) -> Scene:
        """Read one scene. Raises UnknownNameError for a name not in the file, InputError for arrays that break the format."""
        if name not in self.splits:
            raise UnknownNameError("scene", name, self.splits)
        a = _read(self.path, tuple(f"{name}/{key}" for key in _COLUMNS))
        arrays = {key: a[f"{name}/{key}"] for key in _COLUMNS}
        where = f"{self.path}: scene {name}"
        for key, columns in _COLUMNS.items():
            shape = arrays[key].shape
            if len(shape) != 2 or shape[1] != columns or arrays[key].dtype.kind not in "fiu":
                raise InputError(f"{where}: {key} must be numbers [n, {columns}], got {list(shape)}; {_REMEDY}")
            bad = ~np.isfinite(arrays[key]).all(axis=1)
            if bad.any():
                raise InputError(
                    f"{where}: {key} must be finite, row {int(bad.argmax())} ({int(bad.sum())} in all) is not; {_REMEDY}"
                )
        lanes = _lanes(arrays["lane_pts"], arrays["lane_len"], where)
        tracks = _tracks(arrays["state"], arrays["idx"], arrays["dims"], where)
        return Scene(name=name, source=name.partition("-")[0], lanes=lanes, tracks=tracks)


def load_recorded(path: str | Path) -> Recorded:
    """Open a recorded file and read its table of contents. Raises InputError for a missing, broken or foreign file."""
    path = Path(path)
    a = _read(path, ("names", "split"))
    names, split = a["names"], a["split"]
    if names.ndim != 1 or names.shape != split.shape or names.dtype.kind != "U" or split.dtype.kind != "U":
        raise InputError(f"{path}: names and split must be strings of equal length, got {names.shape} and {split.shape}; {_REMEDY}")
    if len(set(names.tolist())) != len(names):
        raise InputError(f"{path}: scene names must be unique; {_REMEDY}")
    return Recorded(path, dict(zip(names.tolist(), split.tolist(), strict=True)))


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, NDArray]:
    """Arrays of an npz by key; every way in which a file can be broken becomes one InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the recorded npz file by --data or EDGE_DATA")
    try:
        file = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as e:
        raise InputError(f"{path}: not an npz file, or cut short ({_line(e)}); {_REMEDY}") from e
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise InputError(f"{path}: a single npy array, where an npz with scenes is needed; {_REMEDY}")
    with file:
        missing = [k for k in keys if k not in file]
        if missing:
            raise InputError(f"{path}: keys {', '.join(missing)} are missing; {_REMEDY}")
        try:
            return {k: file[k] for k in keys}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as e:
            raise InputError(f"{path}: broken inside ({_line(e)}); {_REMEDY}") from e


def _line(e: Exception) -> str:
    return " ".join(str(e).split()) or type(e).__name__


def _lanes(points: NDArray, lengths: NDArray, where: str) -> tuple[tuple[F32, F32], ...]:
    lengths = lengths.astype(np.int64)
    if (lengths < 2).any() or lengths.sum() != len(points):
        raise InputError(
            f"{where}: lane_len must hold at least 2 points a bound and sum to the {len(points)} of lane_pts, "
            f"got least {lengths.min(initial=2)}, sum {lengths.sum()}; {_REMEDY}"
        )
    bounds = np.split(points.astype(np.float32), np.cumsum(lengths.ravel())[:-1]) if len(lengths) else []
    return tuple(zip(bounds[::2], bounds[1::2], strict=True))


def _tracks(state: NDArray, idx: NDArray, dims: NDArray, where: str) -> dict[int, Track]:
    if len(state) != len(idx):
        raise InputError(f"{where}: state and idx must have one row per sample, got {len(state)} and {len(idx)}; {_REMEDY}")
    idx = idx.astype(np.int64)
    foreign = idx[(idx[:, 0] < 0) | (idx[:, 0] >= len(dims)), 0]
    if len(foreign):
        raise InputError(f"{where}: idx may name the {len(dims)} tracks of dims, it names {foreign[0]}; {_REMEDY}")
    order = np.lexsort((idx[:, 1], idx[:, 0]))
    state, idx = state[order].astype(np.float32), idx[order]
    tracks: dict[int, Track] = {}
    for rows in np.split(np.arange(len(idx)), np.flatnonzero(np.diff(idx[:, 0])) + 1) if len(idx) else ():
        track_id, first = (int(v) for v in idx[rows[0]])
        if (np.diff(idx[rows, 1]) != 1).any():
            raise InputError(f"{where}: track {track_id} must have consecutive steps, it skips or repeats some; {_REMEDY}")
        s = state[rows]
        length, width = (float(v) for v in dims[track_id])
        tracks[track_id] = Track(track_id, first, s[:, :2], s[:, 2], s[:, 3], length, width)
    return tracks
