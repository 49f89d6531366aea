"""`edge quantize`: an FP8 copy of a checkpoint, and what it changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg


@dataclass(frozen=True)
class Quantize:
    """Write an FP8 copy of a checkpoint and say what it changed: tables on standard output, all figures in quantization.json."""

    model: Positional[Path]
    """Checkpoint folder."""
    to: str
    """fp8-compressed (per channel and token; SGLang, vLLM, this engine) or fp8-modelopt (per tensor, calibrated; TensorRT too)."""
    out: Path
    """Folder to write."""
    calibrate: Path | None = None
    """JSONL file: records.jsonl of `edge drive data`, or lines with "prompt" or "messages"; a planner has demo scenes without."""
    samples: int = 16
    """Requests to calibrate on; as many others are used for the report."""
    clip: str = "absmax"
    """What of a calibrated input becomes 448: absmax, or a percentile such as p99.99."""
    smoothquant: float | None = None
    """Alpha of SmoothQuant; none by default, as E4M3 gains nothing from it unless ranges differ by more than 2^14."""
    keep: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """Products to leave as they are, such as 'layers.0.*'; may be given several times."""
    data: Path | None = None
    """Recorded traffic (or EDGE_DATA): the report of a planner is then also on validation windows."""
    windows: int = 16
    """How many of them."""
    at_least: float | None = None
    """Exit with status 3 when the share of equal tokens is lower."""
    adapter: str = "lean"
    """lean, or transformers for any other architecture; for the report."""

    def run(self) -> int:
        from edge.cli import quantizing

        return quantizing.run(self)
