"""Camera images and ego motion in, a plan out: the driving answer of a block-diffusion checkpoint, in absolute metres."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decoding.guarantees import is_lossless
from edge.core.errors import InputError
from edge.engine import Engine
from edge.generation import Generation
from edge.strategies import STRATEGIES, resolve
from robotics.driving.answer import Answer, PlannerConfig, format_trajectory, parse
from robotics.driving.coding import clamp
from robotics.driving.prompt import IMAGE, EgoHistory, prompt_text
from robotics.driving.scene import CAMERAS

ROLLOUT_TEMPERATURE = 0.25
"""Of sampled trajectories. With the reducer chosen on training scenes held out: of four temperatures and nucleus sizes and five
ways to join four trajectories, the one that does best on the worse of both sites (Fast-dDrive has the mean of four at 0.5)."""
ROLLOUT_REDUCER = "likeliest"
"""The plan is one that the model wrote, not a mean of several."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One answer of the planner.

    answer: the four sections as the model wrote them, its trajectory in the checkpoint's own coding.
    waypoints: [5, 2] m at 1..5 s, ego frame (x forward, y left), always absolute.
    """

    answer: Answer
    waypoints: NDArray[np.float64]
    strategy: str
    generation: Generation

    def as_json(self) -> dict[str, Any]:
        """The object `edge plan` prints; its sections carry the absolute trajectory."""
        sections = self.answer.model_dump(mode="json")
        sections["trajectory"] = format_trajectory(clamp(self.waypoints)[0])
        return {
            "schema": "plan/1",
            "sections": sections,
            "raw_waypoints": [[round(float(x), 2), round(float(y), 2)] for x, y in self.waypoints],
            "answer": self.generation.text,
            "strategy": self.strategy,
            "forwards": self.generation.forwards,
            "lossless": self.generation.lossless,
            "finish_reason": self.generation.finish_reason,
            "skipped_sections": list(self.generation.skipped_sections),
            "timings": {k: round(v, 3) for k, v in self.generation.timings.items()},
        }


class Planner:
    """A driving checkpoint: an engine, the answer's template and the coding of its trajectory."""

    def __init__(self, engine: Engine, config: PlannerConfig) -> None:
        self.engine, self.config = engine, config
        self.template = config.template()

    @classmethod
    def load(cls, path: str | Path, **kwargs: Any) -> Planner:
        """Load a checkpoint folder with a `planner.json`; kwargs go to `Engine.load`.

        Raises CheckpointError when the folder is no driving checkpoint.
        """
        engine = Engine.load(path, **kwargs)
        return cls(engine, PlannerConfig.load(path))

    def plan(
        self, images: Sequence[Any], history: EgoHistory, command: str, *, strategy: str = "self-spec", **options: Any
    ) -> Plan:
        """Plan 5 s from three camera images in the order front left, front, front right.

        images: PIL images, files or uint8 arrays [H, W, 3]; options: those of `Engine.generate`. Several `rollouts` part at the
        trajectory, sampled at a temperature of ROLLOUT_TEMPERATURE unless another is given; the plan is the likeliest of them, or
        their mean where a strategy that is not lossless knows no probabilities.
        Raises InputError for a wrong number of images, an unreadable one, an unknown command, a malformed history, or `sections`
        without the trajectory.
        """
        generation = self.generate(images, history, command, strategy=strategy, **options)
        answer = parse(generation.text)
        return Plan(answer, self.waypoints(answer, history, command), strategy, generation)

    def generate(self, images: Sequence[Any], history: EgoHistory, command: str, *, strategy: str, **options: Any) -> Generation:
        """The model's answer, not read yet. Arguments and errors as of `plan`: what it raises is the fault of the request."""
        if "trajectory" not in (options.get("sections") or ("trajectory",)):
            raise InputError(f"a plan needs its trajectory: add it to sections, got {list(options['sections'])}")
        if options.get("rollouts", 1) > 1:
            reducer = ROLLOUT_REDUCER if is_lossless(STRATEGIES.get(resolve(strategy, self.template))) else "mean"
            options = {"temperature": ROLLOUT_TEMPERATURE, "fork_at": "trajectory", "reducer": reducer} | options
        if len(images) != len(CAMERAS):
            raise InputError(f"a plan takes {len(CAMERAS)} camera images ({', '.join(CAMERAS)}): got {len(images)}")
        return self.engine.generate(messages(history, command), images=images, strategy=strategy, schema=self.template, **options)

    def waypoints(self, answer: Answer, history: EgoHistory, command: str) -> NDArray[np.float64]:
        """The trajectory of an answer in absolute metres, [5, 2]."""
        return self.config.coding.decode(answer.coded(), history, command)


def messages(history: EgoHistory, command: str) -> list[dict[str, Any]]:
    """The chat form of a request: static text, the three cameras, then the numbers."""
    before, after = prompt_text(history, command).split(IMAGE)
    images = [{"type": "image"} for _ in CAMERAS]
    return [{"role": "user", "content": [{"type": "text", "text": before}, *images, {"type": "text", "text": after}]}]


def read_history(path: str | Path) -> EgoHistory:
    """An ego history from a JSON file. Raises InputError, one line, for a missing or malformed file."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a JSON file with the ego history") from None
    except ValueError as e:
        raise InputError(f"{path}: not valid JSON: {e}") from None
    return EgoHistory.read(data)
