"""What is judged before a request is read: the size of its body, and the key."""

from __future__ import annotations

import secrets

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.wire.errors import Refusal

OPEN = ("/", "/health", "/ready")
"""Routes that need no key."""


class Gate:
    """ASGI middleware: refuses bodies larger than `max_body` bytes, counted as they come, and requests without `api_key`."""

    def __init__(self, app: ASGIApp, max_body: int, api_key: str | None) -> None:
        self._app, self._max, self._key = app, max_body, api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refusal = self._without_key(scope["path"], headers) or self._announced(headers)
        if refusal is not None:
            await _answer(refusal)(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max:  # what reads the body lets this exception through, and this one alone
                raise HTTPException(413, str(self._too_large()))
            return message

        await self._app(scope, counted, send)

    def _without_key(self, path: str, headers: dict[bytes, bytes]) -> Refusal | None:
        if self._key is None or path in OPEN:
            return None
        given = headers.get(b"authorization", b"")
        if secrets.compare_digest(given, f"Bearer {self._key}".encode()):
            return None
        return Refusal("give this server's key: Authorization: Bearer KEY", status=401, code="invalid_api_key")

    def _announced(self, headers: dict[bytes, bytes]) -> Refusal | None:
        length = headers.get(b"content-length", b"0")
        return self._too_large() if not length.isdigit() or int(length) > self._max else None

    def _too_large(self) -> Refusal:
        return Refusal(f"the body is larger than the {self._max / 2**20:g} MiB of this server", status=413)


def _answer(refusal: Refusal) -> JSONResponse:
    return JSONResponse(refusal.body, refusal.status, refusal.headers)
