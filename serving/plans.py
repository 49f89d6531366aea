"""The planner service behind a server's event loop: whoever waits for a plan waits in a thread, whose clock nothing holds up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from fastapi.responses import Response

from robotics.driving.safety.proposal import Proposal
from robotics.driving.service.proposing import PlannerDown
from robotics.driving.service.service import PlannerService
from serving.planning import PlanRequest, by_camera
from serving.wire.errors import Refusal
from serving.worker import Gone

Planning = Callable[[PlanRequest, float | None], Awaitable[Proposal]]
"""(request, milliseconds left or None): an unchecked plan. To be cancelled when it is too late."""
WAITERS = 8
"""Threads. One request is at the planner and one before it; the others are answered at once."""


class Plans:
    """Answers `/v1/plan`."""

    def __init__(self, planning: Planning) -> None:
        self._planning = planning
        self._running: dict[int, Future[Proposal]] = {}
        self._threads = ThreadPoolExecutor(WAITERS, thread_name_prefix="plan")
        self.service = PlannerService(self, refusals=(Refusal, Gone))
        self._loop: asyncio.AbstractEventLoop | None = None

    async def answer(self, request: PlanRequest) -> Response:
        """The plan as JSON. Cancelled, it takes the request from the planner. Raises Refusal and EdgeError."""
        by_camera(request)
        self._loop = asyncio.get_running_loop()
        try:
            made = await self._loop.run_in_executor(self._threads, self.service.plan, request)
        except asyncio.CancelledError:
            if (future := self._running.get(id(request))) is not None:
                future.cancel()
            raise
        return Response(made.model_dump_json(by_alias=True), media_type="application/json")

    def submit(self, request: Any, left_ms: float | None) -> Future[Proposal]:
        """The service's way to the planner; called in a thread."""
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(self._plan(request, left_ms), self._loop)
        self._running[id(request)] = future
        future.add_done_callback(lambda _: self._running.pop(id(request), None))
        return future

    async def _plan(self, request: PlanRequest, left_ms: float | None) -> Proposal:
        try:
            return await self._planning(request, left_ms)
        except Refusal as e:
            if e.status >= 500 and request.deadline_ms is not None:
                raise PlannerDown(str(e)) from e  # who has a deadline needs an answer, not advice to come again
            raise

    def close(self) -> None:
        if (close := getattr(self._planning, "close", None)) is not None:
            close()
        self.service.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
