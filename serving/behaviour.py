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
    """A short job for when the reply is on its way."""

    def __init__(self, job: Callable[[], None]) -> None:
        self._job = job

    async def __call__(self) -> None:
        self._job()


def refusing(app: FastAPI, left: Callable[[], None]) -> None:
    """Every refusal in OpenAI's form; what nobody foresaw is logged and told without its inside.

    left: called for a request whose client left.
    """

    @app.exception_handler(Refusal)
    async def refuse(_: Request, e: Refusal) -> Response:
        return JSONResponse(e.body, e.status, e.headers)

    @app.exception_handler(EdgeError)
    async def refuse_engine(_: Request, e: EdgeError) -> Response:
        return await refuse(_, refused(e))

    @app.exception_handler(HTTPException)
    async def refuse_http(_: Request, e: HTTPException) -> Response:
        return await refuse(_, Refusal(str(e.detail), status=e.status_code, headers=e.headers))

    @app.exception_handler(Gone)
    async def gone(_: Request, e: Gone) -> Response:
        left()
        return Response(status_code=CLIENT_LEFT)

    @app.exception_handler(Exception)
    async def failed(_: Request, e: Exception) -> Response:
        LOGGER.error("request failed", exc_info=e)
        return await refuse(_, Refusal("internal error; the server's log has it", status=500, kind="server_error"))
