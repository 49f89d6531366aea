"""What a server answers. Fields that a newer server adds are let through."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Reply(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Usage(Reply):
    prompt_tokens: int
    completion_tokens: int
    forwards: int | None = None
    prompt_tokens_details: dict[str, Any] | None = None


class Chat(Reply):
    """Answers to one request. text: of the first; texts: of all choices; told: what stands under `edge` in the reply."""

    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]
    usage: Usage
    told: dict[str, Any]

    @property
    def text(self) -> str:
        return self.texts[0]


class Piece(Reply):
    """A bit of a stream. text: more of choice `index`; forward: in a canvas stream, the record of a forward (and no text)."""

    index: int = 0
    text: str = ""
    forward: dict[str, Any] | None = None


class Point(Reply):
    """A moment of a trajectory: t s, x m forward, y m left, yaw rad, v m/s, a m/s2, kappa 1/m (positive to the left)."""

    t: float
    x: float
    y: float
    yaw: float
    v: float
    a: float
    kappa: float


class Trajectory(Reply):
    """5 s at 10 Hz from now on, checked."""

    dt_s: float
    points: tuple[Point, ...]


class Plan(Reply):
    """A driving plan. trajectory: what may be driven; raw_waypoints: the model's own, five, one second apart, (x forward, y left)
    in metres, none where there was no plan of the model. status: OK, DEGRADED, FALLBACK or REJECTED; reason_codes say why.
    """

    schema_: str = Field(alias="schema")
    status: str
    source: str
    reason_codes: tuple[str, ...]
    trajectory: Trajectory
    sections: dict[str, Any]
    raw_waypoints: tuple[tuple[float, float], ...]
    checks: tuple[dict[str, Any], ...]
    strategy: str
    forwards: int
    lossless: bool
    timings: dict[str, float]
