"""One engine, one thread, one request at a time; a bounded number wait."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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


@dataclass(frozen=True, slots=True)
class _Job:
    """deliver: takes the result, or what was raised; called in the worker's thread."""

    run: Callable[[Ticket], Any]
    ticket: Ticket
    deliver: Callable[[Any, BaseException | None], None]


class Worker:
    """Runs jobs in the order they came. waiting: how many may wait beside the one that runs. For any number of threads.

    The thread and its queue are our own: between the end of a job and the client's reply lie as few steps of the event loop as
    there can be (an executor and a task round every job took 0.2 ms more).
    """

    def __init__(self, waiting: int) -> None:
        self._limit = waiting + 1
        self._inside = 0
        self._counting = threading.Lock()
        self._lasted: deque[float] = deque([1.0], maxlen=16)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return max(0, self._inside - 1)

    @property
    def running(self) -> int:
        return min(1, self._inside)

    def run(self, job: Callable[[Ticket], T], ticket: Ticket) -> asyncio.Future[T]:
        """The job's result, to be awaited on the running event loop. Raises Refusal with status 503 when the queue is full.
        Cancelled, it makes the job stop at its next look at the ticket.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def deliver(result: Any, error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(settle, future, result, error)

        self._put(_Job(job, ticket, deliver))
        future.add_done_callback(lambda f: ticket.left.set() if f.cancelled() else None)
        return future

    def submit(self, job: Callable[[Ticket], T], ticket: Ticket) -> Future[T]:
        """As `run`, for threads."""
        future: Future[T] = Future()
        self._put(_Job(job, ticket, lambda result, error: settle(future, result, error)))
        future.add_done_callback(lambda f: ticket.left.set() if f.cancelled() else None)
        return future

    def _put(self, job: _Job) -> None:
        with self._counting:
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
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            result = error = None
            try:
                result = self._done(job)
            except BaseException as e:  # whatever it was, somebody waits for it
                error = e
            with self._counting:
                self._inside -= 1
            job.deliver(result, error)

    def _done(self, job: _Job) -> Any:
        job.ticket.check()
        started = time.perf_counter()
        job.ticket.waited_ms = (started - job.ticket.asked) * 1e3
        try:
            return job.run(job.ticket)
        finally:
            self._lasted.append(time.perf_counter() - started)

    def close(self) -> None:
        """Jobs that have not begun are dropped; the one that runs is waited for."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()
        self._jobs.put(None)
        self._thread.join()


def settle(future: asyncio.Future[Any] | Future[Any], result: Any, error: BaseException | None) -> None:
    """Give whoever waits the result, unless nobody does any more."""
    with contextlib.suppress(asyncio.InvalidStateError, InvalidStateError):  # cancelled
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


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
