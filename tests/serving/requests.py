"""Sixty requests as an OpenAI client sends them, for every server that has to answer them alike.

`REQUESTS[n].arguments` are keyword arguments of `client.chat.completions.create`, but for `model`. All say their temperature, so
that no server's default matters. Written for the nano planner: prompts of a few hundred tokens, answers of a few dozen.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

Kind = Literal["text", "image", "schema", "stop", "stream", "n", "seed"]


@dataclass(frozen=True)
class Request:
    kind: Kind
    arguments: dict[str, Any]

    @property
    def schema(self) -> Any:
        form = self.arguments.get("response_format")
        return form["json_schema"]["schema"] if form else None

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.arguments["messages"]


def picture(number: int) -> np.ndarray:
    """uint8 [H, W, 3]: noise, ramps and boxes of several sizes."""
    rng = np.random.default_rng(number)
    height, width = [(112, 112), (150, 200), (64, 300), (224, 96)][number % 4]
    if number % 3 == 0:
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] * rng.integers(1, 4, 3)
    out = (ramp % 256).astype(np.uint8)
    if number % 3 == 2:
        out[height // 4 : height // 2, width // 4 : width // 2] = rng.integers(0, 256, 3)
    return out


def uri(array: np.ndarray) -> str:
    """A PNG as a data URI."""
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def pixels(part: dict[str, Any]) -> Image.Image:
    """The image of an `image_url` part."""
    return Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].split(",", 1)[1])))


PROMPTS = (
    "hello there",
    "What is ahead?",
    "Describe the road and what to do next.",
    "Say yes or no.",
    "A truck brakes in front of you; the lane on the left is free.",
    "Count: 1, 2, 3,",
    "Plan for the next five seconds, and be careful with cyclists. " * 6,
    "stop",
)

BOUNDED: tuple[dict[str, Any], ...] = (
    {"type": "object", "properties": {"ok": {"enum": ["yes", "no"]}}, "required": ["ok"], "additionalProperties": False},
    {
        "type": "object",
        "properties": {
            "lane": {"enum": ["left", "right", "keep"]},
            "why": {"type": "string", "maxLength": 12},
            "speed": {"type": "integer", "minimum": 0, "maximum": 99},
        },
        "required": ["lane", "why", "speed"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {
            "seen": {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "maxItems": 3},
            "at": {"type": "object", "properties": {"x": {"type": "integer", "minimum": -9, "maximum": 9}}, "required": ["x"]},
        },
        "required": ["seen", "at"],
        "additionalProperties": False,
    },
    {"type": "string", "pattern": "^[+-][0-9]{3}\\.[0-9]{2}$"},
)

UNBOUNDED: tuple[dict[str, Any], ...] = (
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"enum": ["car", "bike"]}}},
        "required": ["name", "tags"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"type": "integer"}},
)


def _chat(prompt: str, images: tuple[int, ...] = (), **arguments: Any) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": uri(picture(n))}} for n in images]
    content: Any = [*parts, {"type": "text", "text": prompt}] if images else prompt
    return {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 32, **arguments}


def json_schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def _all() -> tuple[Request, ...]:
    out: list[Request] = []

    def add(kind: Kind, *args: Any, **kwargs: Any) -> None:
        out.append(Request(kind, _chat(*args, **kwargs)))

    for n, prompt in enumerate((*PROMPTS, *PROMPTS[:4])):
        add("text", prompt, max_tokens=(1, 2, 9, 32, 48)[n % 5])
    for n in range(12):
        add("image", PROMPTS[n % 8], tuple(range(n, n + 1 + n % 3)), max_tokens=24)
    for n in range(12):
        schema = UNBOUNDED[n // 6] if n % 6 == 5 else BOUNDED[n % 4]
        add("schema", PROMPTS[n % 8], (n,) if n % 2 else (), response_format=json_schema(schema), max_tokens=64)
    for n, stop in enumerate(('"', " ", ["yes", "no"], "}", ["never said, ever"], ":", ["in", "on", "at", "ri"], "e")):
        add("stop", PROMPTS[n], stop=stop, max_tokens=40)
    for n in range(8):
        extra: dict[str, Any] = {"response_format": json_schema(BOUNDED[1])} if n == 3 else {}
        add("stream", PROMPTS[n], (n,) if n % 2 else (), stream=True, max_tokens=48 if extra else 30, **extra)
    for n in range(4):
        add(
            "n",
            PROMPTS[n],
            (n,) if n == 2 else (),
            n=2 + n % 3,
            max_tokens=16,
            **({"temperature": 0.8, "seed": n} if n % 2 else {}),
        )
    for n in range(4):
        extra = {"response_format": json_schema(BOUNDED[2]), "max_tokens": 64} if n == 3 else {"max_tokens": 20}
        add("seed", PROMPTS[n], temperature=(0.5, 0.9, 1.3, 1.0)[n], top_p=(1.0, 0.9, 0.7, 1.0)[n], seed=7 + n, **extra)
    return tuple(out)


REQUESTS = _all()
"""Sixty of them: 12 text, 12 image, 12 schema, 8 stop, 8 stream, 4 n, 4 seed."""
