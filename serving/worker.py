"""One engine, one thread, one request at a time; a bounded number wait."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from serving.wire.errors import Refusal

T = TypeVar("T")
E = TypeVar("E")


class Gone(Exception):
    """Whoever asked has left."""


class Ticket:
    """A request's place in the queue. left: set when nobody waits for the answer any more."""

    def __init__(self) -> None:
        self.asked = time.perf_counter()
        self.left = threading.Event()
        self.waited_ms = 0.0

    def check(self) -> None:
        """Raises Gone when nobody waits; to be called between forwards."""
        if self.left.is_set():
            raise Gone


class Worker:
    """Runs jobs in the order they came. waiting: how many may wait beside the one that runs."""

    def __init__(self, waiting: int) -> None:
        self._limit = waiting + 1
        self._inside = 0
        self._lasted: deque[float] = deque([1.0], maxlen=16)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")

    @property
    def waiting(self) -> int:
        return max(0, self._inside - 1)

    @property
    def running(self) -> int:
        return min(1, self._inside)

    async def run(self, job: Callable[[Ticket], T], ticket: Ticket) -> T:
        """The job's result. Raises Refusal with status 503 when the queue is full. Cancelled, it makes the job stop at its next
        look at the ticket.
        """
        if self._inside >= self._limit:
            wait_s = max(1, round(self._inside * sum(self._lasted) / len(self._lasted)))
            raise Refusal(
                f"{self.waiting} requests wait already; try again in {wait_s} s",
                status=503,
                kind="server_error",
                code="overloaded",
                headers={"Retry-After": str(wait_s)},
            )
        self._inside += 1
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._job, job, ticket)
        future.add_done_callback(self._done)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            ticket.left.set()
            raise

    def _job(self, job: Callable[[Ticket], T], ticket: Ticket) -> T:
        ticket.check()
        started = time.perf_counter()
        ticket.waited_ms = (started - ticket.asked) * 1e3
        try:
            return job(ticket)
        finally:
            self._lasted.append(time.perf_counter() - started)

    def _done(self, future: asyncio.Future) -> None:
        self._inside -= 1
        if not future.cancelled():
            future.exception()  # looked at, so that nobody complains when the one who asked has left

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


class Mailbox(Generic[E]):
    """What a job tells while it runs, for the event loop to read."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[E] = asyncio.Queue()

    def put(self, event: E) -> None:
        """From any thread. After the loop has ended nobody reads, and nothing is raised."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._queue.put_nowait, event)

    async def get(self) -> E:
        return await self._queue.get()
