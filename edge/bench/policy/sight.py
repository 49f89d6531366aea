"""`edge bench sight`: what a policy's eyes say of pictures they have never seen, from the prefix that its expert reads.

Every strategy answers every picture, one after the other in turn; the prefix is there already, as it is when a policy acts.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from edge.bench import record
from edge.bench.measure import AR, cell
from edge.core.errors import InputError
from edge.core.progress import progress
from robotics.policy.arena.camera import Camera
from robotics.policy.arena.collect import NOISE, demonstrate
from robotics.policy.arena.instructions import job, said
from robotics.policy.arena.metaworld import CALIBRATION_SEEDS, Arena
from robotics.policy.checkpoint import load
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.vla import VLAPolicy

STRATEGIES = (AR, "self-spec", "fused")
PER_EPISODE = 5


@dataclass(frozen=True, slots=True)
class View:
    """A picture, what was asked, and the answer's holes as they should be."""

    image: Any
    words: str
    truth: list[str]


@dataclass(frozen=True, slots=True)
class Said:
    text: str
    forwards: int
    ms: float


def bench(model: Path, episodes: int, show: bool = True) -> dict[str, Any]:
    """The result in the common form of a bench. Raises InputError for a policy that does not see, and fewer than one episode."""
    torch.set_num_threads(1)
    policy = load(model)
    if not isinstance(policy, VLAPolicy):
        raise InputError(f"{model}: a policy that does not see; give one that does, such as edge/zoo/nano-vla")
    if episodes < 1:
        raise InputError(f"{episodes} episodes: give at least one of each task")
    shown = views(policy, episodes)
    answers: dict[str, list[Said]] = {s: [] for s in STRATEGIES}
    looks = []
    for n, view in enumerate(progress(shown, len(shown), "looking", show)):
        for strategy in np.roll(STRATEGIES, n).tolist():
            policy.eyes.engine.forget()
            policy.eyes.look(view.image, view.words)
            looks.append((policy.eyes.timings["vision"], policy.eyes.timings["prefill"]))
            begin = time.perf_counter()
            found = policy.eyes.say(view.image, view.words, strategy=strategy)
            answers[strategy].append(Said(found.text, found.forwards, 1000 * (time.perf_counter() - begin)))
    rows = [_row(s, answers[s], answers[AR], shown) for s in STRATEGIES]
    vision, prefill = np.median(looks, axis=0)
    return record.report("sight", rows, model=str(model), vision_ms=float(vision), vlm_ms=float(prefill), pictures=len(shown))


def views(policy: DiffusionPolicy, episodes: int) -> list[View]:
    """Pictures of experts' episodes that no policy learns from or is judged in, each asked in one of its task's ways."""
    assert policy.config.sight is not None
    out = []
    for task in policy.config.tasks:
        arena = Arena(task, policy.config.tasks)
        camera = Camera(arena, policy.config.sight.image_size)
        for seed in range(CALIBRATION_SEEDS, CALIBRATION_SEEDS + episodes):
            episode = demonstrate(arena, seed, NOISE[seed % len(NOISE)], camera=camera)
            if episode is None or episode.images is None:
                continue
            sayings = job(task).sayings
            for n, at in enumerate(np.linspace(0, len(episode.actions) - 1, PER_EPISODE).astype(int)):
                out.append(View(episode.images[at], sayings[n % len(sayings)], said(task, episode.observations[at])))
    return out


def _row(strategy: str, answers: Sequence[Said], plain: Sequence[Said], shown: Sequence[View]) -> dict[str, Any]:
    told = [json.loads(a.text) for a in answers]
    places = np.array([[*t["hand_mm"], *t["thing_mm"]] for t in told], dtype=float)
    truth = np.array([[float(v) for v in view.truth[1:]] for view in shown])
    errors = np.abs(places - truth).reshape(-1, 2, 3)
    hand, thing = np.linalg.norm(errors, axis=2).T
    ms = np.quantile([a.ms for a in answers], [0.25, 0.5, 0.75])
    return {
        "name": strategy,
        "strategy": strategy,
        "forwards": float(np.mean([a.forwards for a in answers])),
        "ms_p50": float(ms[1]),
        "ms_iqr": float(ms[2] - ms[0]),
        "equal_ar": float(np.mean([a.text == p.text for a, p in zip(answers, plain, strict=True)])),
        "subtask_right": float(np.mean([t["subtask"] == v.truth[0] for t, v in zip(told, shown, strict=True)])),
        "hand_mm_p50": float(np.median(hand)),
        "hand_mm_p90": float(np.quantile(hand, 0.9)),
        "thing_mm_p50": float(np.median(thing)),
        "thing_mm_p90": float(np.quantile(thing, 0.9)),
    }


def show(result: Mapping[str, Any]) -> None:
    """Print one line for each strategy."""
    split = f"vision {result['vision_ms']:.1f} ms, prompt {result['vlm_ms']:.1f} ms"
    out = Table(title=f"{result['model']}: {result['pictures']} pictures; {split}; text from there on")
    heads = ("strategy", "forwards", "ms p50", "iqr", "equal to ar", "sub-task right", "hand mm p50", "p90", "thing mm p50", "p90")
    for head in heads:
        out.add_column(head, justify="left" if head == "strategy" else "right")
    for r in result["rows"]:
        shares = (f"{r['equal_ar']:.1%}", f"{r['subtask_right']:.1%}")
        places = [cell(r[k], 0) for k in ("hand_mm_p50", "hand_mm_p90", "thing_mm_p50", "thing_mm_p90")]
        out.add_row(r["strategy"], cell(r["forwards"], 1), cell(r["ms_p50"], 1), cell(r["ms_iqr"], 1), *shares, *places)
    Console(file=sys.stdout, width=150, highlight=False).print(out)
