"""The JSON tables of nuScenes: flat lists of rows that name each other by token.

Layout: <root>/v1.0-mini|trainval|test/<table>.json (nuscenes-devkit, schema_nuscenes.md). Only the fields that are used are kept.
A table that is missing or no list is refused by name; a row that lacks a field is reported and left out; a token that leads nowhere
is an error of who asked, naming both tables.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.core.errors import InputError, UnknownNameError
from robotics.driving.damage import Damage

Row = dict[str, Any]

FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "scene": {"name": str, "first_sample_token": str},
    "sample": {"timestamp": int, "next": str, "scene_token": str},
    "sample_data": {
        "sample_token": str,
        "ego_pose_token": str,
        "calibrated_sensor_token": str,
        "timestamp": int,
        "is_key_frame": bool,
        "filename": str,
    },
    "ego_pose": {"timestamp": int, "rotation": list, "translation": list},
    "calibrated_sensor": {"sensor_token": str, "rotation": list, "translation": list, "camera_intrinsic": list},
    "sensor": {"channel": str},
    "sample_annotation": {
        "sample_token": str,
        "instance_token": str,
        "attribute_tokens": list,
        "translation": list,
        "size": list,
        "rotation": list,
    },
    "instance": {"category_token": str},
    "category": {"name": str},
    "attribute": {"name": str},
}
"""Tables that are read, and the fields of each beside `token`."""

LENGTHS = {"rotation": 4, "translation": 3, "size": 3}
"""Rotations are quaternions w, x, y, z; sizes are width, length, height in metres; translations are metres."""


@dataclass(frozen=True)
class Tables:
    """All tables of one version. rows: table -> token -> row; damaged: rows that were left out."""

    folder: Path
    rows: dict[str, dict[str, Row]]
    damaged: list[Damage] = field(default_factory=list)

    def get(self, table: str, token: str, asker: str) -> Row:
        """A row by its token. Raises InputError naming the table, the token and who refers to it."""
        row = self.rows[table].get(token)
        if row is None:
            raise InputError(f"token is not in {table}.json: {token!r}, which {asker} refers to")
        return row


def versions(root: Path) -> list[str]:
    """Names of the table folders under `root`."""
    return sorted(p.name for p in root.glob("v1.0-*") if p.is_dir())


def read_tables(root: Path, version: str | None = None) -> Tables:
    """All tables of a version ("v1.0-mini", ...), or of the only one there is.

    Raises InputError for a missing or unreadable table and where no version or several are found, UnknownNameError for another.
    """
    found = versions(root)
    if not found:
        raise InputError(f"{root}: no folder v1.0-* with nuScenes tables; name the folder that holds it")
    if version is None and len(found) > 1:
        raise InputError(
            f"{root}: holds {', '.join(found)}; choose one with --split, such as --split {found[0].removeprefix('v1.0-')}"
        )
    name = version or found[0]
    if name not in found:
        raise UnknownNameError("nuScenes version", name, found)
    folder = root / name
    missing = [t for t in FIELDS if not (folder / f"{t}.json").is_file()]
    if missing:
        raise InputError(f"{folder}: tables are missing: {', '.join(f'{t}.json' for t in missing)}; fetch the metadata again")
    damaged: list[Damage] = []
    return Tables(folder, {t: _table(folder / f"{t}.json", t, damaged) for t in FIELDS}, damaged)


def _table(path: Path, table: str, damaged: list[Damage]) -> dict[str, Row]:
    keep = {"token", *FIELDS[table]}
    try:
        with path.open(encoding="utf-8") as f:
            content = json.load(f, object_pairs_hook=lambda pairs: {k: v for k, v in pairs if k in keep})
    except (OSError, ValueError, RecursionError) as e:
        raise InputError(f"{path}: not readable as JSON ({' '.join(str(e).split())}); fetch the table again") from None
    if not isinstance(content, list):
        raise InputError(f"{path}: a table is a list of rows, this is a {type(content).__name__}; fetch it again")
    out: dict[str, Row] = {}
    for n, row in enumerate(content):
        wrong = _wrong(row, table)
        if not wrong and row["token"] in out:
            wrong = f"token occurs twice in {table}.json: {row['token']!r}"
        if wrong:
            damaged.append(Damage(f"{table}.json row {n}", wrong))
        else:
            out[row["token"]] = row
    return out


def _wrong(row: Any, table: str) -> str:
    """What is wrong with a row, or ""."""
    if not isinstance(row, dict):
        return f"row of {table}.json is no object: {type(row).__name__}"
    for key, kind in {"token": str, **FIELDS[table]}.items():
        if key not in row:
            return f"row of {table}.json lacks a field: {key} (token {row.get('token')!r})"
        value = row[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            return f"row of {table}.json has a field of the wrong type: {key} is {type(value).__name__} (token {row['token']!r})"
        if key in LENGTHS and not (len(value) == LENGTHS[key] and all(_number(v) for v in value)):
            return (
                f"row of {table}.json has a field of the wrong type: {key} must be {LENGTHS[key]} numbers (token {row['token']!r})"
            )
        if key == "rotation" and abs(sum(v * v for v in value) - 1) > 1e-2:
            return f"row of {table}.json has a rotation that is no unit quaternion: {value} (token {row['token']!r})"
    return ""


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12
