"""Settings of the decoders that were measured on a device: `decoding.json` beside a checkpoint's weights, one entry per device.

What a forward of R rows costs is a property of the device; how many forwards of which sizes an answer takes is one of the
checkpoint. The rule: of all settings, take the one whose forwards cost least in sum (`choose`). `edge bench rows --keep` writes it.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, ValidationError

from edge.core.config import Frozen, explain
from edge.core.errors import CheckpointError

FILE = "decoding.json"


class Tuned(Frozen):
    """One device. row_ms: milliseconds of a forward by its rows; defaults: by strategy, the options that were chosen."""

    device: str
    threads: int = Field(gt=0)
    dtype: str
    context: int = Field(gt=0)
    date: str
    row_ms: dict[int, float]
    defaults: dict[str, dict[str, int | bool]]
    predicted_ms: dict[str, float]


class TunedFile(Frozen):
    """All devices that the checkpoint was measured on."""

    schema_tag: Literal["edge.decoding/1"] = Field(default="edge.decoding/1", alias="schema")
    devices: tuple[Tuned, ...] = ()

    def find(self, device: torch.device, dtype: torch.dtype) -> Tuned | None:
        """The entry for a device; of several thread counts the nearest."""
        name, kind, threads = device_name(device), str(dtype).removeprefix("torch."), torch.get_num_threads()
        alike = [d for d in self.devices if (d.device, d.dtype) == (name, kind)]
        return min(alike, key=lambda d: abs(d.threads - threads), default=None)

    def with_entry(self, entry: Tuned) -> TunedFile:
        """This file with `entry` in the place of an older one of the same device, threads and dtype."""
        key = (entry.device, entry.threads, entry.dtype)
        kept = [d for d in self.devices if (d.device, d.threads, d.dtype) != key]
        return TunedFile(devices=(*kept, entry))


def read(folder: Path) -> TunedFile:
    """The file in a checkpoint folder, or an empty one where there is none. Raises CheckpointError for a broken one."""
    try:
        return TunedFile.model_validate_json((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return TunedFile()
    except (ValidationError, UnicodeDecodeError) as e:
        why = explain(e) if isinstance(e, ValidationError) else str(e)
        raise CheckpointError(f"{folder / FILE}: {why}; delete it or write it anew with `edge bench rows --keep`") from None


def write(folder: Path, file: TunedFile) -> None:
    (folder / FILE).write_text(file.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cost_ms(row_ms: Mapping[int, float], rows: Sequence[int]) -> float:
    """What forwards of so many rows cost in sum: straight lines between measured sizes, and the last one beyond the largest."""
    sizes = np.array(sorted(row_ms))
    ms = np.array([row_ms[int(n)] for n in sizes])
    asked = np.asarray(rows, dtype=np.float64)
    slope = (ms[-1] - ms[-2]) / (sizes[-1] - sizes[-2])
    return float((np.interp(asked, sizes, ms) + np.maximum(asked - sizes[-1], 0) * slope).sum())


def choose(row_ms: Mapping[int, float], settings: Sequence[tuple[dict[str, Any], Sequence[int]]]) -> tuple[dict[str, Any], float]:
    """The cheapest of (options, rows of every forward of some answers) and its cost in milliseconds; the first of equals."""
    costs = [cost_ms(row_ms, rows) for _, rows in settings]
    best = int(np.argmin(costs))
    return settings[best][0], costs[best]
