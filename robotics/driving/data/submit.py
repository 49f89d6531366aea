"""A planner's answers to the frames of WOD-E2E shards, ready for `submission.write_submission`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from edge.core.errors import InputError
from robotics.driving.baselines import constant_velocity
from robotics.driving.damage import Damage
from robotics.driving.data import wod
from robotics.driving.data.motion import F64
from robotics.driving.data.request import request_of
from robotics.driving.data.submission import TIMES_S, resampled
from robotics.driving.prompt import EgoHistory


class Plans(Protocol):
    """What is needed of `robotics.driving.planner.Planner`."""

    def plan(self, images: Any, history: EgoHistory, command: str, **options: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Predicted:
    """One frame's entry. xy: [20, 2] m at 4 Hz; why: "" for the planner's own, else why it is constant velocity instead."""

    name: str
    xy: F64
    why: str = ""


def predicted(
    shards: Iterable[Path], planner: Plans, size: tuple[int, int], frames: Collection[str] | None = None, **options: Any
) -> Iterator[Predicted | Damage]:
    """An entry for every frame (of `frames`, if given), and a Damage for each record that is none.

    size: (H, W) px of the planner's pictures; options: those of `Planner.plan`. The challenge wants an entry for every frame, so
    one that the planner cannot be asked about, as a picture is broken, gets constant velocity, and says so.
    """
    for shard in shards:
        for frame in wod.frames(shard):
            if isinstance(frame, Damage):
                yield frame
            elif frames is None or frame.name in frames:
                yield _predict(frame, planner, size, options)


def _predict(frame: wod.E2EFrame, planner: Plans, size: tuple[int, int], options: dict[str, Any]) -> Predicted:
    velocity: NDArray[Any] = frame.past[-1, 2:4]
    try:
        request = request_of(wod.scene(frame))
        plan = planner.plan(request.images(size), request.history, request.command, **options)
    except InputError as e:
        return Predicted(frame.name, constant_velocity(velocity, TIMES_S), str(e))
    return Predicted(frame.name, resampled(plan.waypoints, velocity))


def frame_list(path: Path) -> frozenset[str]:
    """Names of the frames that the challenge wants: a JSON list of strings. Raises InputError for a file that is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: not readable as JSON ({' '.join(str(e).split())})") from None
    if not isinstance(content, list) or not content or not all(isinstance(n, str) for n in content):
        raise InputError(f'{path}: must be a list of frame names, such as ["abc-017"]; got {type(content).__name__}')
    return frozenset(content)
