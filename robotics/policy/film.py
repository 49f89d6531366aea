"""An episode as a strip of pictures: what the camera saw, and under it what the model said of it, if it can speak."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge.core.errors import InputError, MissingExtraError
from robotics.policy.arena.camera import FIELD_DEG, PLACE_M, Camera
from robotics.policy.arena.metaworld import Arena
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.rollouts import LIMIT
from robotics.policy.senses import Senses
from robotics.policy.types import IMAGE, WORDS
from robotics.policy.vla import VLAPolicy

U8 = NDArray[np.uint8]
COLOURS = {"hand_mm": "cyan", "thing_mm": "yellow"}
PIXELS = 256
"""Side of a frame as it is drawn."""


@dataclass(frozen=True, slots=True)
class Frame:
    """step: of the episode; said: the model's answer about what it was shown, None where it cannot speak."""

    step: int
    image: U8
    said: dict[str, Any] | None
    forwards: int


def film(
    policy: DiffusionPolicy, task: str, seed: int, frames: int = 6, words: str | None = None, limit: int = LIMIT
) -> list[Frame]:
    """`frames` of an episode that the policy acts, evenly spread over its chunks, the last one as it ended.

    Raises InputError for fewer than two, UnknownNameError for a task that the policy has not learnt.
    """
    if frames < 2:
        raise InputError(f"{frames} frames: a strip begins and ends; give at least 2")
    arena = Arena(task, policy.config.tasks)
    senses, camera = Senses(arena, policy.config, words), Camera(arena, PIXELS)
    policy.reset()
    generator, seen = torch.Generator().manual_seed(seed), arena.reset(seed)
    shown: list[Frame] = []
    step, done = 0, False
    while not done and step < limit:
        batch = senses(seen)
        if step % policy.config.execute == 0:
            shown.append(_frame(policy, step, camera(), batch))
        seen, done = arena.step(policy.select_action(batch, generator)[0].numpy())
        step += 1
    shown.append(_frame(policy, step, camera(), senses(seen)))
    return [shown[i] for i in np.unique(np.linspace(0, len(shown) - 1, frames).round().astype(int))]


def _frame(policy: DiffusionPolicy, step: int, image: U8, batch: dict[str, Any]) -> Frame:
    if not isinstance(policy, VLAPolicy):
        return Frame(step, image, None, 0)
    said = policy.eyes.say(batch[IMAGE], batch[WORDS])
    return Frame(step, image, json.loads(said.text), said.forwards)


def draw(frames: list[Frame], title: str, path: Path) -> Path:
    """Raises MissingExtraError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "drive", "drawing episodes") from None
    figure = Figure(figsize=(2.5 * len(frames), 3.7), dpi=110)
    FigureCanvasAgg(figure)
    for ax, frame in zip(figure.subplots(1, len(frames)), frames, strict=True):
        ax.imshow(frame.image)
        ax.set_axis_off()
        ax.set_title(f"step {frame.step}", fontsize=9)
        if frame.said is not None:
            for key, colour in COLOURS.items():
                ax.plot(*pixel([v / 1000 for v in frame.said[key]]), "+", color=colour, markersize=13, markeredgewidth=2)
            told = f"{frame.said['subtask']}\nthing {frame.said['thing_mm']} mm"
            ax.text(0.5, -0.03, told, transform=ax.transAxes, ha="center", va="top", fontsize=8, linespacing=1.4)
    crosses = "; crosses: where the model says that the hand (cyan) and what it is to move (yellow) are"
    figure.suptitle(title + (crosses if frames[0].said is not None else ""), fontsize=10)
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def pixel(place_m: list[float]) -> tuple[float, float]:
    """Where a place of the arena is in the camera's picture, which looks straight down with y upwards."""
    x, y, z = place_m
    half = np.tan(np.radians(FIELD_DEG / 2)) * max(PLACE_M[2] - z, 0.3)  # a place told behind the camera is drawn far out
    return PIXELS / 2 * (1 + (x - PLACE_M[0]) / half), PIXELS / 2 * (1 - (y - PLACE_M[1]) / half)
