"""Requests over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from edge.client.replies import Chat, Piece, Plan, Usage
from edge.core.errors import EdgeError, InputError

CAMERAS = ("front_left", "front", "front_right")
MAGIC = {b"\x89PNG": "png", b"\xff\xd8": "jpeg", b"RIFF": "webp", b"BM": "bmp"}
Picture = str | Path | bytes
"""A file, a data URI, or the bytes of an image file."""


class ServerError(EdgeError):
    """The server refused, or could not be reached. status: of HTTP, 0 when there was no answer; retry_after_s: where it says so."""

    def __init__(self, message: str, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s


class Client:
    """Asks one server, over one connection that stays open. A context manager; otherwise `close` it."""

    def __init__(self, url: str = "http://127.0.0.1:8000", *, api_key: str | None = None, timeout_s: float = 60.0) -> None:
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)

    def chat(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        images: Sequence[Picture] = (),
        schema: Mapping[str, Any] | None = None,
        edge: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Chat:
        """One answer, or `n`. messages: a user's text, before which `images` are shown, or OpenAI's messages. schema: JSON schema
        of the answer. edge: strategy, deadline_ms, ...; fields: max_tokens, temperature, seed, stop, ... Raises ServerError.
        """
        told = self._post("/v1/chat/completions", _chat(messages, images, schema, edge, fields))
        texts = tuple(c["message"]["content"] for c in told["choices"])
        reasons = tuple(c["finish_reason"] for c in told["choices"])
        usage = Usage.model_validate(told["usage"])
        return Chat(texts=texts, finish_reasons=reasons, usage=usage, told=told.get("edge", {}))

    def stream(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        images: Sequence[Picture] = (),
        schema: Mapping[str, Any] | None = None,
        edge: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Iterator[Piece]:
        """The answer as it grows. Closing the iterator ends the request. Arguments as of `chat`."""
        body = _chat(messages, images, schema, edge, fields) | {"stream": True}
        try:
            with self._http.stream("POST", "/v1/chat/completions", json=body) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refused(response)
                for line in response.iter_lines():
                    if line.startswith("data: ") and line != "data: [DONE]":
                        yield from _pieces(json.loads(line[6:]))
        except httpx.HTTPError as e:
            raise _unreachable(e, self._http) from None

    def plan(
        self,
        images: Mapping[str, Picture] | Sequence[Picture],
        history: Mapping[str, Any],
        nav_command: str,
        **fields: Any,
    ) -> Plan:
        """A driving plan from three cameras (by name, or in the order front left, front, front right) and two seconds of motion.
        fields: deadline_ms, n_rollouts, sections, request_id, ... Raises ServerError.
        """
        named = dict(images) if isinstance(images, Mapping) else dict(zip(CAMERAS, images, strict=True))
        cameras = [{"camera": name, "url": data_uri(picture)} for name, picture in named.items()]
        body = {"images": cameras, "history": dict(history), "nav_command": nav_command, **fields}
        return Plan.model_validate(self._post("/v1/plan", body))

    def models(self) -> list[str]:
        """Names of what is served."""
        return [m["id"] for m in self._answer("GET", "/v1/models")["data"]]

    def ready(self) -> bool:
        """Whether the server is there and warm."""
        try:
            return self._http.get("/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _post(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._answer("POST", route, json=body)

    def _answer(self, method: str, route: str, **kwargs: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, route, **kwargs)
        except httpx.HTTPError as e:
            raise _unreachable(e, self._http) from None
        if response.status_code != 200:
            raise _refused(response)
        return response.json()


def data_uri(picture: Picture) -> str:
    """A data URI of an image file. Raises InputError for a missing file, or one that is no PNG, JPEG, WebP or BMP."""
    if isinstance(picture, str) and picture.startswith("data:"):
        return picture
    try:
        data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
    except OSError as e:
        raise InputError(f"{picture}: cannot be read ({e.strerror})") from None
    kind = next((name for magic, name in MAGIC.items() if data.startswith(magic)), None)
    if kind is None:
        raise InputError("an image must be a PNG, JPEG, WebP or BMP file")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _chat(
    messages: str | Sequence[Mapping[str, Any]],
    images: Sequence[Picture],
    schema: Mapping[str, Any] | None,
    edge: Mapping[str, Any] | None,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    if isinstance(messages, str):
        parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": data_uri(i)}} for i in images]
        messages = [{"role": "user", "content": [*parts, {"type": "text", "text": messages}]}]
    elif images:
        raise InputError("images go before a user's text; in messages of your own give them as image_url parts")
    body: dict[str, Any] = {"messages": [dict(m) for m in messages], **fields}
    if schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema)}}
    return body if edge is None else body | {"edge": dict(edge)}


def _pieces(chunk: dict[str, Any]) -> Iterator[Piece]:
    if "error" in chunk:
        raise ServerError(chunk["error"]["message"])
    if "edge" in chunk:
        yield Piece(forward=chunk["edge"])
    for choice in chunk.get("choices", []):
        if text := choice["delta"].get("content"):
            yield Piece(index=choice["index"], text=text)


def _refused(response: httpx.Response) -> ServerError:
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = response.text[:200]
    wait = response.headers.get("retry-after")
    return ServerError(message, response.status_code, float(wait) if wait else None)


def _unreachable(error: httpx.HTTPError, http: httpx.Client) -> ServerError:
    return ServerError(f"{http.base_url}: no answer ({type(error).__name__}: {error}); is the server running?")
