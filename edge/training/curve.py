"""The loss curve of a run as a picture: one line per logged loss. The same metrics give the same bytes."""

from __future__ import annotations

import io
import json
from pathlib import Path

from edge.core.errors import MissingExtraError
from edge.training.state import write_bytes

SKIP = ("step", "lr", "grad_norm", "eval")


def draw(metrics: Path, out: Path) -> None:
    """Read `metrics.jsonl` and write a PNG. Raises MissingExtraError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "drive", "drawing the loss curve") from None
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()] if metrics.exists() else []
    figure = Figure(figsize=(8, 5), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = sorted({k for line in lines for k in line if k not in SKIP})
    for n, name in enumerate(names):
        points = [(line["step"], line[name]) for line in lines if name in line]
        axes.plot(*zip(*points, strict=True), label=name, color=f"C{n % 10}", linewidth=2 if name == "loss" else 1)
        held = [(line["step"], line["eval"][name]) for line in lines if name in line.get("eval", {})]
        if held:
            axes.plot(*zip(*held, strict=True), "o--", color=f"C{n % 10}", markersize=3, linewidth=0.8)
    axes.set(xlabel="step", ylabel="loss (points: held-out)")
    if any(line.get("loss", 0) > 0 for line in lines):
        axes.set_yscale("log")
        axes.legend(fontsize=8, ncols=2)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    write_bytes(out, content.getvalue())
