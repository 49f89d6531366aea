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


class Plan(Reply):
    """A driving plan. raw_waypoints: five, one second apart, (x forward, y left) in metres."""

    schema_: str = Field(alias="schema")
    sections: dict[str, Any]
    raw_waypoints: tuple[tuple[float, float], ...]
    strategy: str
    forwards: int
    lossless: bool
    timings: dict[str, float]
