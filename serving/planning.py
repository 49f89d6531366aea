"""`POST /v1/plan`: cameras and ego motion in, a plan out. A thin route over the planner, which checks nothing but its form."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from robotics.driving.planner import Planner
from robotics.driving.prompt import EgoHistory
from robotics.driving.scene import CAMERAS
from serving import images
from serving.generating import strategy_options
from serving.settings import ServerSettings
from serving.wire.chat import Edge, Text, Wire
from serving.wire.errors import Refusal
from serving.worker import Ticket


class Camera(Wire):
    camera: Text
    url: Text
    """A data URI, or what the server's settings allow."""


class PlanRequest(Wire):
    """What a vehicle sends. history: `{"xy": ..., "v": ...}` as `edge plan --history` reads it."""

    schema_: Literal["plan/1"] = Field(default="plan/1", alias="schema")
    request_id: Text | None = None
    sensor_stamp_ns: Annotated[int, Field(ge=0, strict=True)] | None = None
    nav_command: Text
    images: Annotated[list[Camera], Field(min_length=len(CAMERAS), max_length=len(CAMERAS))]
    history: dict[str, Any]
    deadline_ms: Annotated[float, Field(ge=0, le=1e9, strict=True)] | None = None
    n_rollouts: Annotated[int, Field(ge=1, le=16, strict=True)] = 1
    seed: Annotated[int, Field(ge=0, lt=1 << 62, strict=True)] = 0
    sections: list[Text] | None = None
    edge: Edge = Edge()


def by_camera(request: PlanRequest) -> list[str]:
    """The images' URLs in the planner's order. Raises Refusal when a camera is missing or named twice."""
    sent = {c.camera: c.url for c in request.images}
    if sorted(sent) != sorted(CAMERAS):
        raise Refusal(f"images: one of each camera {', '.join(CAMERAS)} is needed: got {', '.join(sorted(sent))}", param="images")
    return [sent[name] for name in CAMERAS]


def plan(planner: Planner, request: PlanRequest, settings: ServerSettings, ticket: Ticket) -> dict[str, Any]:
    """The plan as JSON, on the engine's thread. Raises Gone, Refusal and EdgeError."""
    pictures = [images.read(url, settings, n) for n, url in enumerate(by_camera(request))]
    options: dict[str, Any] = {"rollouts": request.n_rollouts, "seed": request.seed} if request.n_rollouts > 1 else {}
    made = planner.plan(
        pictures,
        EgoHistory.read(request.history),
        request.nav_command,
        strategy=request.edge.strategy,
        deadline_ms=request.deadline_ms,
        sections=request.sections,
        watch=lambda _: ticket.check(),
        **options,
        **strategy_options(request.edge),
    )
    return made.as_json() | {
        "request_id": request.request_id,
        "sensor_stamp_ns": request.sensor_stamp_ns,
        "spread": list(made.generation.spread),
        "queue_ms": round(ticket.waited_ms, 3),
    }
