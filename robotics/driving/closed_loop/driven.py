"""What an episode leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

from robotics.driving.closed_loop.bicycle import State
from robotics.driving.closed_loop.path import Path
from robotics.driving.scene import Scene


@dataclass(frozen=True, slots=True)
class Driven:
    """An episode that has been driven. states: [T + 1], from the handover on; paths and ages_s: [T], the plan used at each step.

    scene: with the ego's track as driven. plans: answers asked for; failed: those without a valid one.
    ended: "time", "collision" (the ego's fault) or "world" (a collision that the world has physics for).
    """

    scene: Scene
    track_id: int
    start: int
    states: tuple[State, ...]
    paths: tuple[Path, ...]
    ages_s: tuple[float, ...]
    plans: int
    failed: int
    ended: str
