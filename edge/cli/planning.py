"""What `edge plan` does, apart from its arguments: find the scene, plan it, print, draw."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from edge.cli.tracing import listening
from edge.core.errors import InputError
from edge.models.images import read_image
from edge.strategies import STRATEGIES
from robotics.driving.answer import parse
from robotics.driving.evaluate import sample
from robotics.driving.planner import Plan, Planner, read_history
from robotics.driving.prompt import EgoHistory
from robotics.driving.scene import Window

if TYPE_CHECKING:
    from edge.cli.plan import Plan as Arguments

COMPARED = ("ar", "threshold", "self-spec", "fused")
SCENE_FORMS = "demo, demo:N or FILE.npz:NAME:TRACK:STEP"


def run(a: Arguments) -> int:
    """Plan, print the JSON on standard output and the rest on standard error. Returns the exit status."""
    names = COMPARED if a.strategy == "all" else (a.strategy,)
    for name in names:
        STRATEGIES.get(name)  # an unknown one is refused before anything is loaded
    if (a.scene is None) == (not a.image):
        raise InputError(f"give either --scene ({SCENE_FORMS}) or three --image files with --history")
    if a.image and a.history is None:
        raise InputError("--image needs --history FILE.json, the ego motion of the last 2 s")
    if a.trace is not None and a.strategy == "all":
        raise InputError("--trace writes the forwards of one strategy: give --strategy with a single name")
    window = None if a.scene is None else scene_window(a.scene)
    own_history = None if a.history is None else read_history(a.history)
    planner = Planner.load(a.model, dtype=a.dtype)  # after the cheap checks: it takes seconds
    if window is not None:
        s = sample(window, planner.config.image_size)
        images, history, command = list(s.images), s.history, s.command
    else:
        assert own_history is not None
        images, history, command = list(a.image), own_history, a.command
    plans = {n: _plan(planner, images, history, command, n, a) for n in names}
    chosen = plans["self-spec"] if a.strategy == "all" else plans[a.strategy]
    _table(plans)
    print(json.dumps(chosen.as_json()))
    if a.out is not None:
        _save(a.out, chosen, window, history, images, a.scene or "own images")
    return 0


def scene_window(text: str) -> Window:
    """The window a scene argument names. Raises InputError for a malformed one."""
    if (m := re.fullmatch(r"demo(?::(\d+))?", text)) is not None:
        from robotics.driving.demo import demo_window

        return demo_window(int(m[1] or 0))
    if (m := re.fullmatch(r"(.+\.npz):([^:]+):(\d+):(\d+)", text)) is not None:
        from robotics.driving.recorded import load_recorded
        from robotics.driving.windows import window_at

        return window_at(load_recorded(m[1]).scene(m[2]), int(m[3]), int(m[4]))
    raise InputError(f"scene {text!r} is none of {SCENE_FORMS}")


def _plan(planner: Planner, images: Sequence[Any], history: EgoHistory, command: str, strategy: str, a: Arguments) -> Plan:
    """Plan twice and keep the second: the first pays for memory and kernels that any later plan finds ready."""
    options: dict[str, Any] = {"rollouts": a.rollouts, "deadline_ms": a.deadline_ms, "sections": a.section or None}
    if a.block_size is not None and strategy != "ar":
        options["block_size"] = a.block_size
    planner.plan(images, history, command, strategy=strategy, **options)
    with listening(a.trace) as trace:
        return planner.plan(images, history, command, strategy=strategy, trace=trace, **options)


def _table(plans: dict[str, Plan]) -> None:
    title = "one plan, every strategy" if len(plans) > 1 else None
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in ("strategy", "tokens", "forwards", "tokens/forward", "ms", "equal to ar", "valid JSON"):
        table.add_column(head, justify="left" if head == "strategy" else "right")
    for name, plan in plans.items():
        g = plan.generation
        equal = "-" if "ar" not in plans else ("yes" if g.tokens == plans["ar"].generation.tokens else "no")
        rate = f"{len(g.tokens) / g.forwards:.2f}"
        table.add_row(name, str(len(g.tokens)), str(g.forwards), rate, f"{g.timings['total']:.1f}", equal, _valid(g.text))
    Console(stderr=True).print(table)


def _valid(text: str) -> str:
    try:
        parse(text)
    except InputError:
        return "no"
    return "yes"


def _save(out: Path, plan: Plan, window: Window | None, history: EgoHistory, images: Sequence[Any], title: str) -> None:
    """Write plan.json and plan.png."""
    from robotics.driving.picture import draw_own, draw_plan

    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.json").write_text(json.dumps(plan.as_json(), indent=1) + "\n", encoding="utf-8")
    curves = {f"plan ({plan.strategy})": plan.waypoints}
    if window is not None:
        draw_plan(window, curves, out / "plan.png", title=title)
    else:
        draw_own(history, [np.asarray(read_image(i)) for i in images], curves, out / "plan.png", title=title)
    print(f"edge: wrote {out / 'plan.json'} and {out / 'plan.png'}", file=sys.stderr)
