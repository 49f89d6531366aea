"""What every server here has: a gate, a log, refusals in OpenAI's form, /health, /metrics, and bodies described for OpenAPI."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

import edge
from serving.behaviour import refusing
from serving.body import components, described, read
from serving.direct import Direct, Posted
from serving.limits import Gate
from serving.log import Logged
from serving.metrics import Metrics
from serving.settings import ServerSettings

W = TypeVar("W", bound=BaseModel)
MIB = 2**20


class App(FastAPI):
    """An application behind the gate, the log and the direct routes."""

    def __init__(self, settings: ServerSettings, metrics: Metrics, lifespan: Any) -> None:
        super().__init__(title="edge-dvla", version=edge.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
        self.direct = Direct(super().__call__, left=metrics.left.inc)
        logged = Logged(self.direct, count=lambda route, status: metrics.requests.labels(route, str(status)).inc())
        self._gate = Gate(logged, max_body=int(settings.max_body_mb * MIB), api_key=settings.api_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gate(scope, receive, send)


def base_app(settings: ServerSettings, metrics: Metrics, lifespan: Any) -> App:
    """An application without routes of its own."""
    app = App(settings, metrics, lifespan)
    refusing(app, metrics.left.inc)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/metrics")
    async def tell() -> Response:
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    return app


def post(
    app: App,
    path: str,
    form: type[W],
    answer: Callable[[Request, W], Awaitable[Response]],
    answered: type[BaseModel] | None = None,
) -> None:
    """A route that answers bodies of one form, and its description. answered: the form of its answers, where they have one."""

    async def route(request: Request) -> Response:
        return await answer(request, await read(request.scope, request.receive, form))

    app.direct.add(Posted(path, route))
    app.router.add_route(path, route, methods=["POST"], include_in_schema=False)  # refuses the other methods
    app.openapi = _with(app.openapi, path, form, answered)


def _with(
    description: Callable[[], dict[str, Any]], path: str, form: type[BaseModel], answered: type[BaseModel] | None
) -> Callable[[], dict[str, Any]]:
    @functools.cache
    def made() -> dict[str, Any]:
        out = description()
        content = {} if answered is None else {"content": described(answered)}
        out["paths"][path] = {
            "post": {
                "operationId": path.strip("/").replace("/", "_"),
                "requestBody": {"required": True, "content": described(form)},
                "responses": {"200": {"description": "the answer", **content}},
            }
        }
        known = out.setdefault("components", {}).setdefault("schemas", {})
        known |= components(form, "validation") | ({} if answered is None else components(answered, "serialization"))
        return out

    return made
