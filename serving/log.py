"""One line of JSON a request, without what was asked or answered."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOGGER = logging.getLogger("edge.serving")


class Lines(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {"time": round(time.time(), 3), "level": record.levelname.lower(), "event": record.getMessage()}
        told |= getattr(record, "told", {})
        if record.exc_info and record.exc_info[0] is not None:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def to_stderr() -> None:
    """Write this project's log there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    LOGGER.handlers = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


class Logged:
    """ASGI middleware: a line for every request, and a count. count: called with route and status."""

    def __init__(self, app: ASGIApp, count: Callable[[str, int], None]) -> None:
        self._app, self._count = app, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            ms = round((time.perf_counter() - started) * 1e3, 1)
            # in the loop's next turn: at the end of this one the reply is written, and nothing is to hold it up
            asyncio.get_running_loop().call_soon(self._tell, scope, status, ms)

    def _tell(self, scope: Scope, status: int, ms: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._count(route, status)
        tell("request", route=route, status=status, ms=ms, **scope.get("state", {}).get("told", {}))


def tell(event: str, **told: Any) -> None:
    LOGGER.info(event, extra={"told": told})
