"""The common form of every benchmark's result, and where it was measured."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edge.core.errors import InputError
from edge.tuned import cpu_name

SCHEMA = "edge.bench/1"


def environment() -> dict[str, Any]:
    """Hardware, versions and date: what a figure is worthless without."""
    import torch

    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "edge-dvla": version("edge-dvla"),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def report(bench: str, rows: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """The whole result; `rows` as in the pinned form, more fields beside them as a bench needs."""
    command = " ".join(["edge", *sys.argv[1:]])
    return {"schema": SCHEMA, "bench": bench, "command": command, "env": environment(), **fields, "rows": rows}


def folder(path: Path) -> Path:
    """The folder, made if it is not there. Raises InputError where it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{path}: cannot make this folder ({e.strerror or e}); choose another") from e
    return path


def write(result: dict[str, Any], path: Path | None) -> None:
    """Write the result as JSON, if a path was asked for."""
    if path is not None:
        folder(path.parent)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
