"""What every server here has: a gate, a log, refusals in OpenAI's form, /health, /metrics, and bodies described for OpenAPI."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

import edge
from serving.behaviour import refusing
from serving.body import components, described, read
from serving.limits import Gate
from serving.log import Logged
from serving.metrics import Metrics
from serving.settings import ServerSettings
from serving.wire.chat import Wire

W = TypeVar("W", bound=Wire)
MIB = 2**20


def base_app(settings: ServerSettings, metrics: Metrics, lifespan: Any) -> FastAPI:
    """An application without routes of its own."""
    app = FastAPI(title="edge-dvla", version=edge.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Logged, count=lambda route, status: metrics.requests.labels(route, str(status)).inc())
    app.add_middleware(Gate, max_body=int(settings.max_body_mb * MIB), api_key=settings.api_key)
    refusing(app, metrics.left.inc)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/metrics")
    async def tell() -> Response:
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    return app


def post(
    app: FastAPI,
    path: str,
    form: type[W],
    answer: Callable[[Request, W], Awaitable[Response]],
    responses: dict[int | str, dict[str, Any]] | None = None,
) -> None:
    """A route that answers bodies of one form, and its description. responses: by status, as OpenAPI says them.

    It is a route of Starlette's: FastAPI's own would resolve dependencies, of which there are none.
    """

    async def route(request: Request) -> Response:
        return await answer(request, await read(request, form))

    app.router.add_route(path, route, methods=["POST"], include_in_schema=False)
    told = {str(k): v for k, v in (responses or {200: {"description": "the answer"}}).items()}
    app.openapi = _with(app.openapi, path, form, told)


def _with(
    description: Callable[[], dict[str, Any]], path: str, form: type[Wire], told: dict[str, Any]
) -> Callable[[], dict[str, Any]]:
    @functools.cache
    def made() -> dict[str, Any]:
        out = description()
        out.setdefault("components", {}).setdefault("schemas", {}).update(components(form))
        out["paths"][path] = {"post": {"operationId": path.strip("/").replace("/", "_"), **described(form), "responses": told}}
        return out

    return made
