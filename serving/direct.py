"""The way to the routes that clients wait for: straight from the server to what answers them.

A request that goes through an application's stack (its guards for exceptions, its router, dependencies that no route here has)
passes a hundred microseconds of Python before anybody reads it, and several times that after forwards have emptied the caches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.behaviour import refusal


@dataclass(frozen=True, slots=True)
class Posted:
    """What answers POST to a path."""

    path: str
    answer: Callable[[Request], Awaitable[Response]]


class Direct:
    """ASGI middleware: answers POST to its own paths, and hands everything else on. left: see `refusal`."""

    def __init__(self, app: ASGIApp, left: Callable[[], None]) -> None:
        self._app, self._left = app, left
        self._posts: dict[str, Posted] = {}

    def add(self, posted: Posted) -> None:
        self._posts[posted.path] = posted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        posted = self._posts.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if posted is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = posted
        try:
            response = await posted.answer(Request(scope, receive))
        except Exception as e:
            response = refusal(e, self._left)
        await response(scope, receive, send)
        # uvloop writes when a task gives way: now, rather than after all that still has to be left
        await asyncio.sleep(0)
