"""How long a model takes for a plan, strategy by strategy, and whether the plans are the same."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robotics.driving.closed_loop.seen import Seen
from robotics.driving.planner import Planner

STRATEGIES = ("ar", "self-spec", "fused")
"""Lossless ones: their plans are the same, so one drives for all and the latency of each is injected."""


def identity(model: Path) -> str:
    """Changes whenever the weights or the coding of the trajectory do."""
    digest = hashlib.sha256()
    for file in sorted([*model.glob("*.safetensors"), model / "planner.json", model / "config.json"]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def measure(planner: Planner, moments: Sequence[Seen], strategies: Sequence[str] = STRATEGIES) -> dict[str, Any]:
    """Milliseconds of a plan by strategy: {strategy: {"p50_ms", "p90_ms"}}, with "plans" and "equal", the share of `moments` at
    which all strategies gave the same answer token for token.

    Strategies take turns, in an order that rotates; one plan of each is not counted. Taking the pictures is not counted either: a
    vehicle has cameras.
    """
    asked = [(list(m.images(planner.config.image_size)), m.history(), m.command()) for m in moments]
    took: dict[str, list[float]] = {s: [] for s in strategies}
    equal = []
    for n, (images, history, command) in enumerate([asked[0], *asked]):
        turn = n % len(strategies)
        answers = []
        for s in [*strategies[turn:], *strategies[:turn]]:
            start = time.perf_counter()
            plan = planner.plan(images, history, command, strategy=s)
            took[s].append((time.perf_counter() - start) * 1e3)
            answers.append(tuple(plan.generation.tokens))
        equal.append(len(set(answers)) == 1)
    out: dict[str, Any] = {
        s: {"p50_ms": float(np.median(ms[1:])), "p90_ms": float(np.percentile(ms[1:], 90))} for s, ms in took.items()
    }
    return {**out, "plans": len(asked), "equal": float(np.mean(equal[1:]))}
