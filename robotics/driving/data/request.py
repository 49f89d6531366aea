"""What a planner is asked at one recorded moment, known from the past alone: for replay, and for sets without a future."""

from __future__ import annotations

from dataclasses import dataclass

from edge.core.errors import InputError
from robotics.driving.labels import command_of
from robotics.driving.prompt import EgoHistory, history_of
from robotics.driving.scene import U8, Cameras, Scene
from robotics.driving.windows import covered, present


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """The arguments of `Planner.plan`; the pictures are decoded when they are asked for."""

    name: str
    stamp_ns: int
    cameras: Cameras
    history: EgoHistory
    command: str

    def images(self, size: tuple[int, int] = (112, 112)) -> U8:
        """uint8 [3, H, W, 3]; size: (H, W) px. Raises InputError for a broken picture."""
        return self.cameras.images(size)


def request_of(scene: Scene) -> PlanRequest:
    """The request of a recording's moment. Where no route hint was recorded, the future gives it, or it is GO_STRAIGHT.

    Raises InputError for a scene without real cameras and for a moment without 2 s of history.
    """
    if scene.ego is None:
        raise InputError(f"{scene.name}: a request needs recorded cameras, and this scene has none")
    window = present(scene)
    hint = command_of(window) if scene.ego.command is not None or covered(scene) else "GO_STRAIGHT"
    return PlanRequest(window.name, scene.ego.stamp_ns, scene.ego.cameras, history_of(window), hint)
