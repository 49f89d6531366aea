"""What `edge quantize` does, apart from its arguments: find requests, calibrate, write, compare, print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from converters.calibration import Inputs, Request, observe, read_requests
from converters.quantize import REPORT, Plan, open_plain, prepare, refuse_existing, write
from converters.quantize_report import Report, measure
from edge.bench.windows import DATA_VARIABLE, split_windows
from edge.core.errors import InputError
from edge.engine import Engine
from robotics.driving.answer import PlannerConfig
from robotics.driving.demo import demo_window
from robotics.driving.evaluate import sample
from robotics.driving.planner import Planner, messages
from robotics.driving.scene import Window

if TYPE_CHECKING:
    from edge.cli.quantize import Quantize as Arguments

PLANNER = "planner.json"


def run(a: Arguments) -> int:
    """Returns the exit status."""
    plan = Plan(a.to, clip=a.clip, smooth=a.smoothquant, keep=a.keep)
    _check(a, plan)
    checkpoint = open_plain(a.model)
    checkpoint.tensors()  # a folder without weights is refused before anything is computed
    source = Engine.load(a.model, adapter=a.adapter)
    seen, sets = _requests(a, source)
    listening = Engine.load(a.model, adapter="transformers") if plan.calibrated or seen or sets else None
    inputs: Inputs | None = None
    if plan.calibrated and seen and listening is not None:
        print(f"edge: calibrating on {len(seen)} requests", file=sys.stderr)
        inputs = observe(listening, seen)
    made = prepare(checkpoint, plan, inputs)
    write(checkpoint, made, a.out)
    report = measure(source, listening, Engine.load(a.out, adapter=a.adapter), made, sets)
    (a.out / REPORT).write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")
    _print(report, a.out)
    low = [name for name, found in report.agreement.items() if a.at_least is not None and found.share < a.at_least]
    if low:
        print(f"edge: {low[0]}: {report.agreement[low[0]].share:.2%} of tokens are equal, below {a.at_least:.2%}", file=sys.stderr)
    return 3 if low else 0


def _check(a: Arguments, plan: Plan) -> None:
    """What can be refused before anything is loaded."""
    refuse_existing(a.out)
    for name, value in (("samples", a.samples), ("windows", a.windows)):
        if value < 1:
            raise InputError(f"{name} must be at least 1: got {value}")
    if plan.calibrated and a.calibrate is None and a.model.is_dir() and not (a.model / PLANNER).exists():
        raise InputError(
            f"{a.model}: {a.to} is calibrated, and the folder is no planner with demo scenes; give --calibrate FILE.jsonl"
        )
    if a.calibrate is not None and not a.calibrate.is_file():
        read_requests(a.calibrate, 1)  # its own refusal


def _requests(a: Arguments, engine: Engine) -> tuple[list[Request], dict[str, list[Request]]]:
    """Requests to calibrate on, and by name those of the report; they have none in common."""
    sets: dict[str, list[Request]] = {}
    seen: list[Request] = []
    if a.calibrate is not None:
        found = read_requests(a.calibrate, 2 * a.samples)
        seen, sets["held-out requests"] = found[::2], found[1::2] or found
    if not (a.model / PLANNER).exists():
        return seen, sets
    planner = Planner(engine, PlannerConfig.load(a.model))
    if a.calibrate is None:
        found = _driving(planner, (demo_window(n) for n in range(2 * a.samples)))
        seen, sets["demo scenes"] = found[: a.samples], found[a.samples :]
    data = a.data if a.data is not None else os.environ.get(DATA_VARIABLE)
    if data:
        sets["recorded windows"] = _driving(planner, split_windows(Path(data), "val", a.windows))
    return seen, sets


def _driving(planner: Planner, windows: Iterable[Window]) -> list[Request]:
    samples = (sample(w, planner.config.image_size) for w in windows)
    return [Request(messages(s.history, s.command), list(s.images), planner.template) for s in samples]


def _print(report: Report, out: Path) -> None:
    console = Console()
    if report.products:
        console.print(_layers(report))
    else:
        console.print("no requests: errors of outputs and tokens were not measured; give --calibrate FILE.jsonl")
    if report.logits is not None:
        shown = report.logits
        console.print(
            f"logits ({shown['count']}): error {shown['error_p50']:.3f} median, {shown['error_max']:.3f} largest; at most "
            f"{shown['share_of_bound_max']:.0%} of the bound (weights alone {shown['share_of_weight_bound_max']:.0%})"
        )
    if report.agreement:
        console.print(_agreement(report))
    print(f"edge: wrote {out} with {REPORT}", file=sys.stderr)


def _layers(report: Report) -> Table:
    """Output errors, a row for each layer and a column for each product."""
    kinds = list(dict.fromkeys(e.module.rpartition(".")[2].removesuffix("_proj") for e in report.products))
    order = [k for k in ("q", "k", "v", "o", "gate", "up", "down") if k in kinds]
    table = Table(title="relative error of each product's output, %", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", justify="right")
    for kind in order:
        table.add_column(kind, justify="right")
    lines: dict[int, dict[str, float]] = {}
    for e in report.products:
        lines.setdefault(int(e.module.split(".")[1]), {})[e.module.rpartition(".")[2].removesuffix("_proj")] = e.output
    for layer, errors in sorted(lines.items()):
        table.add_row(str(layer), *(f"{100 * errors[k]:.2f}" if k in errors else "-" for k in order))
    return table


def _agreement(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    heads = ("", "requests", "tokens", "equal tokens", "alone", "equal answers", "accept", "after")
    for head in heads:
        table.add_column(head, justify="right" if head else "left", no_wrap=not head)
    for name, found in report.agreement.items():
        row: dict[str, Any] = found.as_json()
        shares = (
            f"{row['agreement']:.2%}",
            f"{row['exact_answers']:.1%}",
            f"{row['accept_before']:.2f}",
            f"{row['accept_after']:.2f}",
        )
        table.add_row(name, str(row["requests"]), str(row["tokens"]), *shares)
    return table
