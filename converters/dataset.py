"""Dataset folders of format "edge.sft/1": what the room of the data writes and training reads.

    meta.json       {"schema": "edge.sft/1", "records": N, "image_size": [H, W], "cameras": 3, "template": ..., ...}
    records.jsonl   {"id", "prompt" with `<image>` once, "values": one string per hole of the template,
                    "absent": sections whose values are fillers that nothing may be learned from (if any), ...}
    images.npy      uint8 [N, cameras, H, W, 3], memory-mapped

Keys beyond these are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.recipe import Source
from decoding.template import Template
from edge.core.errors import InputError

SCHEMA = "edge.sft/1"
PLACE = "<image>"
"""Stands once in a prompt where all cameras go."""


@dataclass(frozen=True)
class Folder:
    """An opened dataset folder. images: uint8 [N, cameras, H, W, 3], memory-mapped."""

    path: Path
    meta: dict[str, Any]
    records: list[dict[str, Any]]
    images: NDArray[np.uint8]
    template: Template

    @classmethod
    def open(cls, path: str | Path) -> Folder:
        """Raises InputError, one line, for a missing, foreign or truncated folder."""
        path = Path(path)
        if not path.is_dir():
            raise InputError(f"{path}: no such dataset folder; write one with `edge drive data` or give --data DIR")
        meta = _json(path / "meta.json")
        if meta.get("schema") != SCHEMA:
            raise InputError(f"{path / 'meta.json'}: schema must be {SCHEMA!r}: got {meta.get('schema')!r}; write the folder again")
        try:
            template = Template.model_validate(meta["template"])
            count, cameras, (h, w) = int(meta["records"]), int(meta["cameras"]), map(int, meta["image_size"])
        except (KeyError, ValueError, TypeError) as e:
            reason = str(e).splitlines()[0]
            raise InputError(f"{path / 'meta.json'}: template, records, cameras or image_size is malformed ({reason})") from None
        records = _records(path / "records.jsonl", count)
        file = path / "images.npy"
        try:
            images = np.load(file, mmap_mode="r")
        except (OSError, ValueError, EOFError) as e:
            raise InputError(f"{file}: missing, truncated or not an array ({e}); write the folder again") from None
        if images.shape != (count, cameras, h, w, 3) or images.dtype != np.uint8:
            raise InputError(
                f"{file}: must be uint8 {[count, cameras, h, w, 3]} as meta.json says: got {images.dtype} {list(images.shape)}"
            )
        return cls(path, meta, records, images, template)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; this is not a dataset folder of format {SCHEMA!r}") from None
    except (OSError, ValueError) as e:
        raise InputError(f"{file}: not readable as JSON ({e})") from None
    if not isinstance(content, dict):
        raise InputError(f"{file}: must hold a JSON object and holds a {type(content).__name__}")
    return content


def _records(file: Path, count: int) -> list[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; this is not a dataset folder of format {SCHEMA!r}") from None
    if len(lines) != count or count == 0:
        raise InputError(f"{file}: meta.json says {count} records: got {len(lines)} lines; write the folder again")
    out = []
    for n, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            _ = str(row["id"]), row["prompt"].count(PLACE), list(row["values"])
            absent = [str(name) for name in row.get("absent", ())]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{file}: line {n} must be a JSON object with id, prompt and values: got {line[:60]!r}") from None
        if row["prompt"].count(PLACE) != 1:
            raise InputError(f"{file}: line {n} ({row['id']}): the prompt must hold {PLACE!r} once: got {row['prompt'][:60]!r}")
        out.append({"id": str(row["id"]), "prompt": row["prompt"], "values": row["values"], "absent": absent})
    return out


def open_all(sources: Sequence[Source]) -> list[Folder]:
    """All folders of a recipe. Raises InputError when there are none or they differ in template, cameras or image size."""
    if not sources:
        raise InputError("the recipe names no data; add [[data]] tables with a path or give --data DIR")
    folders = [Folder.open(s.path) for s in sources]
    for other in folders[1:]:
        for key in ("template", "image_size", "cameras"):
            if other.meta[key] != folders[0].meta[key]:
                raise InputError(f"{other.path}: {key} differs from that of {folders[0].path}; datasets of one run share it")
    return folders
