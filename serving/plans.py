"""The planner service behind a server's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from fastapi.responses import Response

from robotics.driving.safety.proposal import Proposal
from robotics.driving.service.proposing import Backend, PlannerDown
from robotics.driving.service.response import PlanResponse
from robotics.driving.service.service import PlannerService
from serving.behaviour import Afterwards
from serving.body import JSON
from serving.planning import PlanRequest, by_camera
from serving.wire.errors import Refusal
from serving.worker import Gone

Planning = Callable[[PlanRequest], Awaitable[Proposal]]
"""An unchecked plan, made on the event loop. To be cancelled when it is too late."""


class Plans:
    """Answers `/v1/plan`. backend: takes `serving.planning.PlanRequest`s, and raises Refusal, Gone and EdgeError; count: called
    with every plan, once it is on its way.
    """

    def __init__(self, backend: Backend, count: Callable[[PlanResponse], None]) -> None:
        self.backend, self._count = backend, count
        self.service = PlannerService(self, refusals=(Refusal, Gone))
        self._running: dict[int, Future[Proposal]] = {}

    async def answer(self, request: PlanRequest) -> Response:
        """The plan as JSON. Cancelled, it takes the request from the planner. Raises Refusal and EdgeError."""
        by_camera(request)
        try:
            made = await self.service.answer(request)
        except asyncio.CancelledError:
            if (future := self._running.get(id(request))) is not None:
                future.cancel()
            raise
        counted = Afterwards(partial(self._count, made))
        return Response(made.model_dump_json(by_alias=True), media_type=JSON, background=counted)

    def submit(self, request: Any, left_ms: float | None) -> Future[Proposal]:
        """The service's way to the planner; called in a thread."""
        try:
            future = self.backend.submit(request, left_ms)
        except Refusal as e:
            raise _judged(e, request) from e
        self._running[id(request)] = future
        future.add_done_callback(lambda _: self._running.pop(id(request), None))
        return future

    def close(self) -> None:
        if (close := getattr(self.backend, "close", None)) is not None:
            close()
        self.service.close()


class LoopPlanner:
    """A planner that works on an event loop, as a backend of the service. Made on that loop."""

    def __init__(self, planning: Planning) -> None:
        self._planning, self._loop = planning, asyncio.get_running_loop()

    def submit(self, request: PlanRequest, left_ms: float | None) -> Future[Proposal]:
        return asyncio.run_coroutine_threadsafe(self._plan(request), self._loop)

    async def _plan(self, request: PlanRequest) -> Proposal:
        try:
            return await self._planning(request)
        except Refusal as e:
            raise _judged(e, request) from e


def _judged(refusal: Refusal, request: PlanRequest) -> Exception:
    """Who has a deadline needs an answer, not advice to come again."""
    return PlannerDown(str(refusal)) if refusal.status >= 500 and request.deadline_ms is not None else refusal
