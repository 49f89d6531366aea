"""The embedded server: OpenAI's routes over one engine, the planner's route, and what operators ask for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic_core import to_json
from sse_starlette import EventSourceResponse

from edge.core.errors import EdgeError
from edge.engine import Engine
from edge.generation import Generation
from robotics.driving.planner import Planner
from robotics.driving.service.response import PlanResponse
from serving.base import base_app, post
from serving.behaviour import Afterwards, staying
from serving.body import JSON
from serving.generating import Asked, answers, asked, generate
from serving.log import LOGGER
from serving.metrics import Metrics
from serving.planning import EnginePlanner, PlanRequest, ProcessPlanner
from serving.plans import Plans
from serving.settings import ServerSettings
from serving.streaming import Growing
from serving.warming import warm_up
from serving.wire.chat import ChatRequest, CompletionRequest
from serving.wire.errors import Refusal, refused
from serving.wire.replies import Form, usage
from serving.worker import Mailbox, Ticket, Worker

LOOK_S = 0.05
"""How often a planner that is being started is looked at."""
PAGE = Path(__file__).parent / "page" / "index.html"


class Server:
    """An engine behind routes. planner: of a driving checkpoint, else None."""

    def __init__(self, engine: Engine, planner: Planner | None, settings: ServerSettings) -> None:
        self.engine, self.planner, self.settings = engine, planner, settings
        self.name = settings.name or engine.path.resolve().name
        self.worker = Worker(settings.waiting)
        self.metrics = Metrics(lambda: self.worker.waiting, lambda: self.worker.running)
        self.plans: Plans | None = None
        self.beside: ProcessPlanner | None = None
        if planner is not None:
            self.beside = ProcessPlanner(planner, settings) if settings.plan_process else None
            self.plans = Plans(self.beside or EnginePlanner(planner, self.worker, settings), self.metrics.planned)
        self.ready = False
        engine.reuse = True

    async def warm_up(self) -> None:
        """Answer once, so that the first client does not wait for what only the first answer needs."""
        await self.worker.run(lambda _: warm_up(self.engine, self.planner), Ticket())
        while self.beside is not None and not self.beside.ready:
            await asyncio.sleep(LOOK_S)
        self.ready = True

    def check_model(self, name: str | None) -> None:
        if name not in (None, self.name):
            known = f"there is no model {name!r} here; this server has {self.name!r}"
            raise Refusal(known, status=404, param="model", code="model_not_found")

    def text(self, token: int) -> str:
        return self.engine.text([token])

    async def complete(self, http: Request, request: ChatRequest | CompletionRequest) -> Response:
        """A completion, whole or as a stream."""
        self.check_model(request.model)
        what = asked(request, self.settings)
        if request.stream:
            return await self._stream(http, request, what, Form.new(isinstance(request, ChatRequest), self.name))
        traced: list[Any] = []
        trace = traced.append if request.edge.trace else None
        ticket = Ticket()
        running = self.worker.run(self._job(what, trace=trace), ticket)
        form = Form.new(isinstance(request, ChatRequest), self.name)
        generation = await staying(http, running)
        extra: dict[str, Any] = {"strategy": request.edge.strategy, "queue_ms": round(ticket.waited_ms, 3)}
        if traced:
            extra["trace"] = [r.model_dump(mode="json") for r in traced]

        def count() -> None:
            self.metrics.answered(generation, ticket.waited_ms, request.edge.deadline_ms)
            http.state.told = {"forwards": generation.forwards, "tokens": len(generation.tokens), "user": request.user}

        body = to_json(form.whole(answers(generation, request.n), generation, extra, self.text))
        return Response(body, media_type=JSON, background=Afterwards(count))

    async def plan(self, http: Request, request: PlanRequest) -> Response:
        """A driving plan."""
        if self.plans is None:
            raise Refusal(f"{self.name} is no driving checkpoint: its folder has no planner.json", status=404)
        return await staying(http, self.plans.answer(request))

    def _job(self, what: Asked, **listeners: Any) -> Callable[[Ticket], Generation]:
        return lambda ticket: generate(self.engine, what, self.settings, ticket, **listeners)

    async def _stream(self, http: Request, request: ChatRequest | CompletionRequest, what: Asked, form: Form) -> Response:
        """Server-sent events. What is refused before the first forward is answered as an error, not as a stream."""
        mailbox: Mailbox[Any] = Mailbox()
        ticket = Ticket()
        watch = lambda canvases: mailbox.put([c.answer().tolist() for c in canvases])  # noqa: E731
        trace = mailbox.put if request.edge.stream == "canvas" or request.edge.trace else None
        running = self.worker.run(self._job(what, watch=watch, trace=trace), ticket)
        running.add_done_callback(lambda _: mailbox.put(None))
        try:
            first = await staying(http, mailbox.get())
        except BaseException:
            running.cancel()
            raise
        if first is None and running.exception() is not None:
            raise running.exception()  # type: ignore[misc]
        events = self._events(request, form, mailbox, running, first, ticket)
        return EventSourceResponse(events, sep="\n")

    async def _events(
        self,
        request: ChatRequest | CompletionRequest,
        form: Form,
        mailbox: Mailbox[Any],
        running: asyncio.Future[Generation],
        event: Any,
        ticket: Ticket,
    ) -> AsyncIterator[dict[str, str]]:
        growing = [Growing(self.engine.text, request.stops) for _ in range(request.n)]
        try:
            while event is not None:
                for chunk in self._news(request, form, growing, event):
                    yield {"data": json.dumps(chunk)}
                event = await mailbox.get()
            generation = running.result()
            self.metrics.answered(generation, ticket.waited_ms, request.edge.deadline_ms)
            said = answers(generation, request.n)
            for n, answer in enumerate(said):
                first = growing[n].fresh
                if (rest := growing[n].rest(answer.text)) or first:
                    yield {"data": json.dumps(form.delta(n, rest, first))}
                yield {"data": json.dumps(form.last(n, answer, self.text))}
            if request.stream_options is not None and request.stream_options.include_usage:
                yield {"data": json.dumps(form.chunk([], usage=usage(said, generation)))}
            yield {"data": "[DONE]"}
        except (Refusal, EdgeError) as e:
            refusal = refused(e) if isinstance(e, EdgeError) else e
            yield {"data": json.dumps(refusal.body)}
        finally:
            if not running.done():
                self.metrics.left.inc()
                running.cancel()

    def _news(self, request: Any, form: Form, growing: list[Growing], event: Any) -> list[dict[str, Any]]:
        """Chunks of what a forward brought: committed text, and with `edge.stream` canvas its record."""
        if not isinstance(event, list):
            return [form.chunk([], edge=event.model_dump(mode="json"))]
        out = []
        # The beginning that forked choices share is told of once; it is part of every choice.
        shared = event * request.n if len(event) == 1 else event
        for n, (tokens, g) in enumerate(zip(shared, growing, strict=True)):
            first = g.fresh
            if text := g.more(tokens):
                out.append(form.delta(n, text, first))
        return out


def create_app(engine: Engine, planner: Planner | None, settings: ServerSettings) -> FastAPI:
    """The application over a loaded engine."""
    server = Server(engine, planner, settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.ensure_future(server.warm_up())
        warming.add_done_callback(_told)
        yield
        server.worker.close()
        if server.plans is not None:
            server.plans.close()

    app = base_app(settings, server.metrics, lifespan)
    app.state.server = server
    post(app, "/v1/chat/completions", ChatRequest, server.complete)
    post(app, "/v1/completions", CompletionRequest, server.complete)
    post(app, "/v1/plan", PlanRequest, server.plan, PlanResponse)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        spec = engine.spec
        about = {"block_size": spec.block_size, "lossless": spec.causal_mode, "planner": planner is not None}
        return {
            "object": "list",
            "data": [{"id": server.name, "object": "model", "owned_by": "edge-dvla", "created": 0, "edge": about}],
        }

    @app.get("/ready")
    async def ready() -> Response:
        return JSONResponse({"ready": server.ready, "waiting": server.worker.waiting}, 200 if server.ready else 503)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"))

    return app


def _told(warming: asyncio.Future) -> None:
    if not warming.cancelled() and warming.exception() is not None:
        LOGGER.error("warm-up failed: this server will not get ready", exc_info=warming.exception())
