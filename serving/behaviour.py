"""How every server here behaves: refusals in OpenAI's form, and no work for a client that has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from edge.core.errors import EdgeError
from serving.log import LOGGER
from serving.wire.errors import Refusal, refused
from serving.worker import Gone

T = TypeVar("T")

CLIENT_LEFT = 499
"""Status in the log of a request whose client left (nginx's number; nobody receives it)."""


async def staying(http: Request, work: Awaitable[T]) -> T:
    """The result of `work`, unless the client leaves first: then it is cancelled, and Gone is raised. The body has been read."""
    running = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(http))
    leaving.add_done_callback(lambda _: running.cancel())
    try:
        return await running
    except asyncio.CancelledError:
        if leaving.done() and not leaving.cancelled():
            raise Gone from None
        raise
    finally:
        leaving.cancel()
        running.cancel()


async def _left(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


class Afterwards(BackgroundTask):
    """A short job for when the reply is on its way.

    What is sent is written at the end of the loop's turn, so a job in the same turn would hold it up: it waits for the next.
    """

    def __init__(self, job: Callable[[], None]) -> None:
        self._job = job

    async def __call__(self) -> None:
        asyncio.get_running_loop().call_soon(self._job)


def refusal(error: Exception, left: Callable[[], None]) -> Response:
    """What a client is told of whatever was raised while it was served. What nobody foresaw is logged and told without its inside.

    left: called for a request whose client left.
    """
    if isinstance(error, Gone):
        left()
        return Response(status_code=CLIENT_LEFT)
    if isinstance(error, EdgeError):
        error = refused(error)
    elif isinstance(error, HTTPException):
        error = Refusal(str(error.detail), status=error.status_code, headers=error.headers)
    elif not isinstance(error, Refusal):
        LOGGER.error("request failed", exc_info=error)
        error = Refusal("internal error; the server's log has it", status=500, kind="server_error")
    return JSONResponse(error.body, error.status, error.headers)


def refusing(app: FastAPI, left: Callable[[], None]) -> None:
    """Every refusal of the application's routes in OpenAI's form."""

    async def refuse(_: Request, e: Exception) -> Response:
        return refusal(e, left)

    for kind in (Refusal, EdgeError, HTTPException, Gone, Exception):
        app.add_exception_handler(kind, refuse)
