"""`POST /v1/plan`: cameras and ego motion in, a checked plan out.

The form of requests is here; judgement and deadlines are in `robotics.driving.service`.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from robotics.driving.planner import Planner
from robotics.driving.safety.proposal import Proposal
from robotics.driving.scene import CAMERAS
from robotics.driving.service import request as library
from robotics.driving.service.process import ProcessBackend
from robotics.driving.service.proposing import of_planner
from serving import images
from serving.generating import strategy_options
from serving.settings import ServerSettings
from serving.wire.chat import Edge, Text, Wire
from serving.wire.errors import Refusal
from serving.worker import Ticket, Worker, settle

READERS = 4
"""Threads that read pictures. Those of a request whose deadline is over may still be on their way."""


class Camera(Wire):
    camera: Text
    url: Text
    """A data URI, or what the server's settings allow."""


class PlanRequest(library.PlanFields):
    """What a vehicle sends. history: as `edge plan --history` reads it."""

    model_config = ConfigDict(allow_inf_nan=False)

    images: Annotated[list[Camera], Field(min_length=len(CAMERAS), max_length=len(CAMERAS))]
    edge: Edge = Field(default_factory=Edge)


def by_camera(request: PlanRequest) -> list[str]:
    """The images' URLs in the planner's order. Raises Refusal when a camera is missing or named twice."""
    sent = {c.camera: c.url for c in request.images}
    if sorted(sent) != sorted(CAMERAS):
        raise Refusal(f"images: one of each camera {', '.join(CAMERAS)} is needed: got {', '.join(sorted(sent))}", param="images")
    return [sent[name] for name in CAMERAS]


def asked(request: PlanRequest, settings: ServerSettings) -> library.PlanRequest:
    """The request with its pictures, as the library takes it. Blocks while it reads them. Raises Refusal."""
    pictures = tuple(images.read(url, settings, n) for n, url in enumerate(by_camera(request)))
    fields: dict[str, Any] = {name: getattr(request, name) for name in library.PlanFields.model_fields}
    options = strategy_options(request.edge)
    return library.PlanRequest(**fields, images=pictures, strategy=request.edge.strategy, options=options)


class EnginePlanner:
    """The planner of a server whose engine serves other requests, too. A backend of the service, as is `ProcessPlanner`."""

    def __init__(self, planner: Planner, worker: Worker, settings: ServerSettings) -> None:
        self._propose, self._worker, self._settings = of_planner(planner), worker, settings

    def submit(self, request: PlanRequest, left_ms: float | None) -> Future[Proposal]:
        """A plan that nobody has checked, or Gone, Refusal or EdgeError. Cancelled, it ends soon. Raises Refusal when the engine's
        queue is full.
        """
        until = None if left_ms is None else time.monotonic() + left_ms / 1e3

        def job(ticket: Ticket) -> Proposal:
            given = asked(request, self._settings)
            left = None if until is None else max(0.0, (until - time.monotonic()) * 1e3)
            found = self._propose(given, left, ticket.check)
            found.told["queue_ms"] = round(ticket.waited_ms, 3)
            return found

        return self._worker.submit(job, Ticket())


class ProcessPlanner:
    """The planner in a process of its own, beside the engine: nothing that the model does holds up an answer."""

    def __init__(self, planner: Planner, settings: ServerSettings) -> None:
        """planner: the server's own."""
        self.process = ProcessBackend.beside(planner)
        self._settings = settings
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="pictures")

    @property
    def ready(self) -> bool:
        """Whether the process can plan."""
        return self.process.wait(0)

    def submit(self, request: PlanRequest, left_ms: float | None) -> Future[Proposal]:
        """As of `EnginePlanner`; PlannerDown while the process is being started. Pictures are read in another thread: their host
        may be slow, and who submits has a deadline to keep.
        """
        out: Future[Proposal] = Future()
        until = None if left_ms is None else time.monotonic() + left_ms / 1e3
        self._readers.submit(self._hand_on, request, until, out)
        return out

    def _hand_on(self, request: PlanRequest, until: float | None, out: Future[Proposal]) -> None:
        if out.cancelled():
            return
        try:
            given = asked(request, self._settings)
            inner = self.process.submit(given, None if until is None else max(0.0, (until - time.monotonic()) * 1e3))
        except BaseException as e:  # whatever it was, somebody waits for it
            settle(out, None, e)
            return
        out.add_done_callback(lambda f: inner.cancel() if f.cancelled() else None)
        inner.add_done_callback(partial(_passed_on, out))

    def close(self) -> None:
        self.process.close()
        self._readers.shutdown(wait=False, cancel_futures=True)


def _passed_on(out: Future[Proposal], inner: Future[Proposal]) -> None:
    if not inner.cancelled():
        error = inner.exception()
        settle(out, inner.result() if error is None else None, error)
