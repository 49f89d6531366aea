"""One door before SGLang: the routes, refusals and limits of the embedded server, answered by an SGLang server behind it.

Requests are judged by the same description as in front of the embedded engine, said in SGLang's words, and its replies are said in
ours, so that a client need not know which of the two it talks to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Protocol

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from sse_starlette import EventSourceResponse

from robotics.driving.service.response import PlanResponse
from serving.base import base_app, post
from serving.behaviour import staying
from serving.front_plan import FrontPlanner
from serving.metrics import Metrics
from serving.planning import PlanRequest
from serving.plans import LoopPlanner, Plans
from serving.settings import ServerSettings
from serving.wire.chat import ChatRequest, CompletionRequest
from serving.wire.errors import Refusal

LONG_S = 600.0
UNKNOWN = "the SGLang backend cannot honour it; the embedded engine can (edge serve --backend embedded)"


class Backend(Protocol):
    """A server behind the door. `serving.sglang_launch.Child` is the one that ships."""

    url: str
    restarts: int
    error: str | None

    @property
    def ready(self) -> bool: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


def said(request: ChatRequest | CompletionRequest, strategy: str) -> dict[str, Any]:
    """The request in SGLang's words. strategy: the one that the server decodes with. Raises Refusal for what it has none for."""
    e = request.edge
    asked = {
        "logprobs": request.alternatives,
        "edge.deadline_ms": e.deadline_ms,
        "edge.sections": e.sections,
        "edge.trace": e.trace or None,
        "edge.options": e.options or None,
        "edge.stream": None if e.stream == "committed" else e.stream,
        "edge.strategy": None if e.strategy == strategy or "strategy" not in e.model_fields_set else e.strategy,
    }
    for name, value in asked.items():
        if value is not None:
            raise Refusal(f"{name}: {UNKNOWN}", param=name)
    if e.fork_at is not None and not (request.n > 1 and request.temperature > 0):
        raise Refusal("edge.fork_at: choices part there, so it needs n > 1 and temperature > 0", param="edge.fork_at")
    body = request.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"edge", "user", "max_completion_tokens"})
    body |= {"model": "edge"}
    if request.limit is not None:
        body["max_tokens"] = request.limit
    if e.fork_at is not None:
        body["custom_params"] = {"edge": {"fork_at": e.fork_at}}
    if not request.stream:  # SGLang tells of forwards in whole replies alone
        body["return_meta_info"] = True
    return body


def told(reply: dict[str, Any], name: str, strategy: str, lossless: bool) -> dict[str, Any]:
    """SGLang's reply in our words: forwards and log-probabilities where it tells of them (chat), and nothing of SGLang's own."""
    counts = [choice.pop("meta_info", None) or {} for choice in reply["choices"]]
    for own in ("matched_stop", "hidden_states", "sglext"):
        for choice in reply["choices"]:
            choice.pop(own, None)
    for own in ("metadata", "sglext"):
        reply.pop(own, None)
    known = {"forwards": sum(c["edge_forwards"][-1] for c in counts)} if all(c.get("edge_forwards") for c in counts) else {}
    usage = {k: v for k, v in (reply.get("usage") or {}).items() if v is not None}
    about: dict[str, Any] = {"strategy": strategy, "lossless": lossless}
    if all("edge_logprobs" in c for c in counts):
        about["choice_logprobs"] = [sum(c["edge_logprobs"]) for c in counts]
    return reply | {"model": name, "usage": usage | known, "edge": about | known}


class Door:
    """What stands before one SGLang server. inside: requests on their way, bounded as the embedded server's queue is."""

    def __init__(self, backend: Backend, settings: ServerSettings, name: str, strategy: str, lossless: bool) -> None:
        self.backend, self.settings = backend, settings
        self.name, self.strategy, self.lossless = name, strategy, lossless
        self.inside = 0
        self.metrics = Metrics(lambda: max(0, self.inside - 1), lambda: min(1, self.inside))
        self.http = httpx.AsyncClient(timeout=LONG_S)

    def check(self, model: str | None) -> None:
        if model not in (None, self.name):
            known = f"there is no model {model!r} here; this server has {self.name!r}"
            raise Refusal(known, status=404, param="model", code="model_not_found")
        if not self.backend.ready:
            why = self.backend.error or "the SGLang server is starting"
            raise Refusal(why, status=503, kind="server_error", code="not_ready", headers={"Retry-After": "5"})
        if self.inside > self.settings.waiting:
            message = f"{self.inside} requests are on their way already; try again in 1 s"
            raise Refusal(message, status=503, kind="server_error", code="overloaded", headers={"Retry-After": "1"})

    async def complete(self, http: Request, request: ChatRequest | CompletionRequest) -> Response:
        self.check(request.model)
        route = "/v1/chat/completions" if isinstance(request, ChatRequest) else "/v1/completions"
        body = said(request, self.strategy)
        self.inside += 1
        try:
            if request.stream:
                return await self._stream(http, route, request, body)
            reply = await staying(http, self._asked(route, body))
            return JSONResponse(told(reply, self.name, self.strategy, self.lossless))
        finally:
            self.inside -= 1

    async def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """A whole chat completion, asked for in SGLang's words and answered in ours."""
        self.check(None)
        self.inside += 1
        try:
            reply = await self._asked("/v1/chat/completions", body | {"model": "edge", "return_meta_info": True})
            return told(reply, self.name, self.strategy, self.lossless)
        finally:
            self.inside -= 1

    async def _asked(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            response = await self.http.post(self.backend.url + route, json=body)
        except httpx.HTTPError as e:
            raise _lost(e) from None
        if response.status_code != 200:
            raise _refused(response)
        return response.json()

    async def _stream(self, http: Request, route: str, request: Any, body: dict[str, Any]) -> Response:
        upstream = self.http.build_request("POST", self.backend.url + route, json=body)
        try:
            response = await staying(http, self.http.send(upstream, stream=True))
        except httpx.HTTPError as e:
            raise _lost(e) from None
        if response.status_code != 200:
            await response.aread()
            raise _refused(response)
        return EventSourceResponse(self._events(response, request), sep="\n")

    async def _events(self, response: httpx.Response, request: Any) -> AsyncIterator[dict[str, str]]:
        wanted = request.stream_options is not None and request.stream_options.include_usage
        self.inside += 1
        try:
            async for line in response.aiter_lines():
                if not line.startswith("data: "):
                    continue
                if line == "data: [DONE]":
                    yield {"data": "[DONE]"}
                    continue
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    yield {"data": json.dumps(chunk)}
                elif chunk.get("choices") or wanted:
                    yield {"data": json.dumps(_chunk(chunk, self.name))}
        except httpx.HTTPError as e:
            yield {"data": json.dumps(_lost(e).body)}
        finally:
            self.inside -= 1
            await response.aclose()


def _chunk(chunk: dict[str, Any], name: str) -> dict[str, Any]:
    for choice in chunk.get("choices", []):
        for own in ("meta_info", "matched_stop"):
            choice.pop(own, None)
    return chunk | {"model": name}


def _refused(response: httpx.Response) -> Refusal:
    """SGLang's refusal in our form."""
    try:
        found = response.json()
        message = found.get("message") or found["error"]["message"]
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"the SGLang server answered with status {response.status_code}"
    kind = "invalid_request_error" if response.status_code < 500 else "server_error"
    return Refusal(str(message), status=response.status_code, kind=kind)


def _lost(error: Exception) -> Refusal:
    what = f"the SGLang server was lost ({type(error).__name__}); it is started again"
    return Refusal(what, status=503, kind="server_error", code="backend_lost", headers={"Retry-After": "30"})


def create_front(
    backend: Backend, settings: ServerSettings, *, name: str, strategy: str, lossless: bool, planner: FrontPlanner | None = None
) -> FastAPI:
    """The application in front of `backend`, which is started and stopped with it. planner: of a driving checkpoint."""
    door = Door(backend, settings, name, strategy, lossless)
    answering: Plans | None = None

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal answering
        if planner is not None:
            answering = Plans(LoopPlanner(partial(planner.propose, ask=door.ask)), door.metrics.planned)
        backend.start()
        yield
        if answering is not None:
            answering.close()
        await door.http.aclose()
        await asyncio.to_thread(backend.stop)

    app = base_app(settings, door.metrics, lifespan)
    app.state.server = door

    async def plans(request: Request, body: PlanRequest) -> Response:
        if answering is None:
            raise Refusal(f"{name} is no driving checkpoint: its folder has no planner.json", status=404)
        if "strategy" in body.edge.model_fields_set and body.edge.strategy != strategy:
            raise Refusal(f"edge.strategy: {UNKNOWN}", param="edge.strategy")
        return await staying(request, answering.answer(body))

    post(app, "/v1/chat/completions", ChatRequest, door.complete)
    post(app, "/v1/completions", CompletionRequest, door.complete)
    post(app, "/v1/plan", PlanRequest, plans, PlanResponse)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        about = {"lossless": lossless, "backend": "sglang", "planner": planner is not None}
        model = {"id": name, "object": "model", "owned_by": "edge-dvla", "created": 0, "edge": about}
        return {"object": "list", "data": [model]}

    @app.get("/ready")
    async def ready() -> Response:
        state = {"ready": backend.ready, "waiting": door.inside, "restarts": backend.restarts, "error": backend.error}
        return JSONResponse(state, 200 if backend.ready else 503)

    return app
