"""`metrics.jsonl`: a line of numbers now and then, each naming its step."""

from __future__ import annotations

import json
from pathlib import Path

from edge.training.state import write_bytes


def truncate(metrics: Path, step: int) -> None:
    """Drop lines of steps that the state does not hold, and a line that was being written."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            if not line.endswith("\n") or json.loads(line)["step"] > step:
                break
        except (ValueError, KeyError):
            break
        kept.append(line)
    write_bytes(metrics, "".join(kept).encode())
