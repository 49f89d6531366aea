"""Another trajectory coding for a dataset folder, without rendering again; and the fit of a reference path to such folders."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edge.core.config import explain
from edge.core.errors import InputError
from robotics.driving.answer import NUMBER, PlannerConfig
from robotics.driving.coding import FittedPath, TrajectoryCoding, clamp, fit
from robotics.driving.path_net import PathNet
from robotics.driving.prompt import EgoHistory

_REFERENCE: TypeAdapter[FittedPath | PathNet] = TypeAdapter(FittedPath | PathNet)

FILES = ("meta.json", "records.jsonl", "images.npy")


def is_folder(path: Path) -> bool:
    """Whether `path` holds any of the files of a dataset folder."""
    return path.is_dir() and any((path / f).exists() for f in FILES)


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """The records of a dataset folder. Raises InputError for a folder that is none."""
    missing = [f for f in FILES if not (folder / f).exists()]
    if missing:
        raise InputError(f"{folder}: no dataset folder, {missing[0]} is missing; write one with `edge drive data`")
    with (folder / "records.jsonl").open(encoding="utf-8") as f:
        for n, line in enumerate(f, start=1):
            row = json.loads(line)
            if not {"waypoints", "history", "command"} <= set(row):
                raise InputError(f"{folder}: record {n} has no history and waypoints to code; write the folder again")
            yield row


def fit_folders(folders: Sequence[Path], weights: Sequence[float] = ()) -> FittedPath:
    """A reference path fitted to every record of the folders (those of training alone), whose records count `weights` (else 1).

    Raises InputError for a number of weights that is not the number of folders, a weight that is not positive, no record at all.
    """
    if weights and len(weights) != len(folders):
        raise InputError(f"one weight per folder: got {len(weights)} weights for {len(folders)} folders")
    if any(not w > 0 for w in weights):
        raise InputError(f"weights are positive: got {list(weights)}")
    examples, counts = [], []
    for folder, weight in zip(folders, weights or [1.0] * len(folders), strict=True):
        for r in records(folder):
            examples.append((EgoHistory.read(r["history"]), r["command"], r["waypoints"]))
            counts.append(weight)
    if not examples:
        raise InputError("a reference path needs records to be fitted to: the folders hold none")
    return fit(examples, counts)


def save_reference(path: FittedPath | PathNet, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(path.model_dump_json() + "\n", encoding="utf-8")


def load_reference(file: Path) -> FittedPath | PathNet:
    """Raises InputError for a missing or malformed file."""
    try:
        return _REFERENCE.validate_json(file.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; fit a reference path with `edge drive reference`") from None
    except ValidationError as e:
        raise InputError(f"{file}: {explain(e)}") from None


def recode(folder: Path, out: Path, coding: TrajectoryCoding, taught: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write `out`, the records of `folder` with their trajectories in `coding`; returns its meta.

    taught: record id to the waypoints that its trajectory is to lead along, in place of the recorded ones (`teacher`).
    Images are hard-linked where the file system allows it. Records whose waypoints do not fit the number form are not dropped but
    refused, since images and records go together. Raises InputError when `out` exists or a record is not taught.
    """
    if out.exists():
        raise InputError(f"{out}: exists; choose another folder or remove it")
    work = out.with_name(out.name + ".partial")
    shutil.rmtree(work, ignore_errors=True)
    rows = []
    for row in records(folder):
        if taught is not None and row["id"] not in taught:
            raise InputError(f"{folder}: record {row['id']} is not among the taught ones; teach this folder, too")
        waypoints = row["waypoints"] if taught is None else taught[row["id"]]
        coded, changed = clamp(coding.encode(waypoints, EgoHistory.read(row["history"]), row["command"]))
        if changed.any():
            raise InputError(f"{folder}: record {row['id']} does not fit the number form in this coding")
        rows.append(row | {"values": [*row["values"][: -coded.size], *(NUMBER.format(float(x)) for x in coded.ravel() + 0.0)]})
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    config = PlannerConfig.model_validate(meta["planner"]).model_copy(update={"coding": coding})
    meta["planner"] = config.model_dump(mode="json")
    work.mkdir(parents=True)
    with (work / "records.jsonl").open("w", encoding="utf-8") as f:
        f.writelines(json.dumps(row) + "\n" for row in rows)
    (work / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    try:
        os.link(folder / "images.npy", work / "images.npy")
    except OSError:
        shutil.copy2(folder / "images.npy", work / "images.npy")
    work.rename(out)
    return meta
