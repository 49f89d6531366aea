"""From a request's body to the engine's arguments, and its generation."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edge.core.types import Canvas
from edge.engine import Engine
from edge.generation import Generation
from edge.trace.record import TraceRecord
from serving import images
from serving.settings import ServerSettings
from serving.wire.chat import ChatRequest, CompletionRequest, Edge, ImagePart, Message
from serving.wire.errors import Refusal
from serving.worker import Ticket

TAKEN = frozenset(inspect.signature(Engine.generate).parameters) | {"reducer"}
"""Names that are no options of strategies."""
ROLES = {"developer": "system"}
"""Roles that chat templates do not know, and what they mean."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What `Engine.generate` is called with. urls: of the images, in the order of their places."""

    prompt: list[dict[str, Any]] | list[int] | str
    urls: list[str]
    arguments: dict[str, Any]


def asked(request: ChatRequest | CompletionRequest, settings: ServerSettings) -> Asked:
    """The engine's arguments. Raises Refusal for what is larger than the settings allow, and for strategies' options that clash."""
    edge = request.edge
    arguments: dict[str, Any] = {
        "strategy": edge.strategy,
        "schema": _schema(request.schema_of_answer),
        "max_new_tokens": request.limit,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop": request.stops,
        "logprobs": request.alternatives,
        "deadline_ms": edge.deadline_ms,
        "sections": edge.sections,
    }
    if request.n * (request.limit or 1) > settings.max_answer_tokens:
        total = request.n * (request.limit or 1)
        raise Refusal(f"n x max_tokens is {total}, more than the {settings.max_answer_tokens} of this server")
    if request.n > 1 and request.temperature > 0:
        arguments |= {"rollouts": request.n, "fork_at": edge.fork_at or 0, "reducer": None}
    elif edge.fork_at is not None:
        raise Refusal("edge.fork_at: choices part there, so it needs n > 1 and temperature > 0", param="edge.fork_at")
    arguments |= strategy_options(edge)
    if isinstance(request, CompletionRequest):
        return Asked(_bounded(request.prompt, settings), [], arguments)
    urls = [p.image_url.url for m in request.messages if isinstance(m.content, list) for p in m.content if isinstance(p, ImagePart)]
    if len(urls) > settings.max_images:
        raise Refusal(f"messages: {len(urls)} images, more than the {settings.max_images} of this server", param="messages")
    messages = [_message(m) for m in request.messages]
    texts = [p["text"] for m in messages for p in m["content"] if p["type"] == "text"]
    _bounded("".join(texts), settings)
    return Asked(messages, urls, arguments)


def _schema(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """The schema, if it is JSON that can be written again. Raises Refusal."""
    if schema is None:
        return None
    try:
        json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise Refusal("response_format: the schema is nested too deeply", param="response_format") from None
    except UnicodeEncodeError:
        raise Refusal("response_format: holds half of a surrogate pair, which is no character", param="response_format") from None
    except ValueError:
        raise Refusal("response_format: holds NaN or infinity, which are no JSON", param="response_format") from None
    return schema


def strategy_options(edge: Edge) -> dict[str, Any]:
    """The strategy's own options. Raises Refusal for names that have a field of their own: the engine would take them for that."""
    clash = sorted(edge.options.keys() & TAKEN)
    if clash:
        raise Refusal(f"edge.options: {clash[0]!r} is no option of a strategy; it has a field of its own", param="edge.options")
    return dict(edge.options)


def _bounded(text: Any, settings: ServerSettings) -> Any:
    if len(text) > settings.max_prompt_chars:
        raise Refusal(f"the prompt has {len(text)} characters or ids, more than the {settings.max_prompt_chars} of this server")
    return text


def _message(message: Message) -> dict[str, Any]:
    content = message.content
    parts: list[dict[str, Any]] = []
    for p in [] if isinstance(content, str) else content:
        parts.append({"type": "image"} if isinstance(p, ImagePart) else {"type": "text", "text": p.text})
    if isinstance(content, str):
        parts.append({"type": "text", "text": content})
    return {"role": ROLES.get(message.role, message.role), "content": parts}


def generate(
    engine: Engine,
    what: Asked,
    settings: ServerSettings,
    ticket: Ticket,
    *,
    watch: Callable[[Sequence[Canvas]], None] | None = None,
    trace: Callable[[TraceRecord], None] | None = None,
) -> Generation:
    """The generation, on the engine's thread. Raises Gone soon after whoever asked has left, Refusal and EdgeError."""
    pictures = [images.read(url, settings, n) for n, url in enumerate(what.urls)]
    prompt = engine.tokenizer.encode(what.prompt) if isinstance(what.prompt, str) else what.prompt

    def look(canvases: Sequence[Canvas]) -> None:
        ticket.check()
        if watch is not None:
            watch(canvases)

    try:
        return engine.generate(prompt, images=pictures, watch=look, trace=trace, **what.arguments)
    except RecursionError:
        raise Refusal("response_format: the schema is nested too deeply", param="response_format") from None


def answers(generation: Generation, n: int) -> list[Generation]:
    """The choices of a reply. Greedy ones are all alike."""
    return list(generation.branches) or [generation] * n
