"""Sending a request, and what came back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.serving.requests import Request


@dataclass(frozen=True)
class Choice:
    text: str
    finish: str


def choices(client: Any, request: Request, model: str = "edge") -> list[Choice]:
    """All choices of an answer, streamed ones put together."""
    if request.arguments.get("stream"):
        found: dict[int, Choice] = {}
        for chunk in client.chat.completions.create(model=model, **request.arguments):
            for c in chunk.choices:
                before = found.get(c.index, Choice("", ""))
                found[c.index] = Choice(before.text + (c.delta.content or ""), c.finish_reason or before.finish)
        return [found[n] for n in sorted(found)]
    answer = client.chat.completions.create(model=model, **request.arguments)
    return [Choice(c.message.content or "", c.finish_reason) for c in answer.choices]


def told(client: Any, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Choices of an answer with SGLang's `meta_info`."""
    answer = client.chat.completions.create(model="edge", extra_body={"return_meta_info": True}, **arguments)
    return answer.model_dump()["choices"]


def forwards(choice: dict[str, Any]) -> int:
    return choice["meta_info"]["edge_forwards"][-1]
