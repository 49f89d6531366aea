"""A planner in a process of its own: nothing it does, hangs in or dies of keeps this one from answering in time.

Requests and plans cross as JSON, pictures as bytes. A planner that dies is started again; one that does not heed its interruption
is killed first.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import queue
import threading
import time
from concurrent.futures import Future, InvalidStateError
from multiprocessing.connection import Connection
from typing import Any

import torch

from edge.core.errors import InputError
from robotics.driving.planner import Planner
from robotics.driving.safety.proposal import Proposal
from robotics.driving.service.child import FACTORY, packed, serve
from robotics.driving.service.proposing import PlannerDown
from robotics.driving.service.request import PlanRequest

GRACE_S = 2.0
"""From interrupting a planner to killing it."""
CHECK_S = 0.1
"""How often a silent planner is looked at."""
LARGEST = 1 << 24
"""Bytes of an answer."""
START_S = 300.0
MOST_BEHIND = 4
"""Requests that a planner may not have come back from; with so many it hangs, and no more pictures are heaped up before it."""


class ProcessBackend:
    """Runs a planner in a child process. factory: `module:function` of what makes a `Propose` from `arguments` there; by default
    the driving checkpoint in folder `arguments["path"]`. niceness: how much the child yields to others on a busy machine.
    """

    def __init__(self, arguments: dict[str, Any], factory: str = FACTORY, *, niceness: int = 0, grace_s: float = GRACE_S) -> None:
        self._spawn = multiprocessing.get_context("spawn")
        self._what = (factory, json.dumps(arguments), niceness)
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._given_up = self._spawn.Value("q", 0)
        self._number, self._futures, self._up = 0, dict[int, Future[Proposal]](), False
        self._closed = False
        self.starts = 0
        self.error: str | None = None
        self._ready = threading.Event()
        self._outbox: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._child: Any = None
        self._interrupted: dict[int, float] = {}
        threading.Thread(target=self._keep, name="planner-process", daemon=True).start()

    @classmethod
    def beside(cls, planner: Planner) -> ProcessBackend:
        """The checkpoint of a planner once more, in its precision and with as many threads."""
        engine = planner.engine
        dtype = str(engine.backbone.dtype).removeprefix("torch.")
        return cls({"path": str(engine.path), "dtype": dtype, "threads": torch.get_num_threads()})

    def wait(self, timeout_s: float = START_S) -> bool:
        """Whether the planner got ready."""
        return self._ready.wait(timeout_s)

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def submit(self, request: PlanRequest, left_ms: float | None) -> Future[Proposal]:
        future: Future[Proposal] = Future()
        with self._lock:
            if not self._up or len(self._futures) >= MOST_BEHIND:
                future.set_exception(PlannerDown(self.error or "the planner hangs, or is being started"))
                return future
            self._number += 1
            number = self._number
            self._futures[number] = future
            self._outbox.put(packed(number, request, left_ms))
        future.add_done_callback(lambda f: self._interrupt(number) if f.cancelled() else None)
        return future

    def close(self) -> None:
        self._closed = True
        self._kill()

    def _interrupt(self, number: int) -> None:
        self._given_up.value = max(self._given_up.value, number)
        with self._lock:
            if number in self._futures:
                self._interrupted[number] = time.monotonic()

    def _hanging(self) -> bool:
        """Whether the child has not come back from a request for long after it was interrupted."""
        with self._lock:
            return any(time.monotonic() - when > self._grace_s for when in self._interrupted.values())

    def _kill(self) -> None:
        child = self._child
        if child is not None:
            with contextlib.suppress(ValueError, OSError):
                child.kill()

    def _keep(self) -> None:
        """Start the child, take what it says, and start it again when it has died."""
        pause = threading.Event()
        while not self._closed:
            ours, theirs = self._spawn.Pipe()
            child = self._spawn.Process(target=serve, args=(theirs, self._given_up, *self._what), daemon=True, name="planner")
            child.start()
            theirs.close()
            self._child, self.starts, self._outbox = child, self.starts + 1, queue.SimpleQueue()
            sender = threading.Thread(target=_send, args=(ours, self._outbox), daemon=True)
            sender.start()
            with contextlib.suppress(EOFError, OSError):
                self._listen(ours)
            self._down()
            child.kill()
            child.join()
            ours.close()
            pause.wait(min(0.05 * 2**self.starts, 5.0) if not self._ready.is_set() else 0.0)

    def _listen(self, ours: Connection) -> None:
        while True:
            while not ours.poll(CHECK_S):
                if self._hanging():
                    return
            said = ours.recv_bytes(LARGEST)
            try:
                told = json.loads(said)
                number = told["number"]
            except (ValueError, KeyError, TypeError, RecursionError):
                return  # it does not speak our language any more
            if number == 0:
                self.error = told.get("error")
                if self.error is None:
                    self._ready.set()
                    with self._lock:
                        self._up = True
                continue
            with self._lock:
                future = self._futures.pop(number, None)
                self._interrupted.pop(number, None)
            if future is not None:
                with contextlib.suppress(InvalidStateError):
                    _finish(future, told)

    def _down(self) -> None:
        with self._lock:
            self._up, lost, self._futures, self._interrupted = False, self._futures, {}, {}
        self._outbox.put(None)
        for future in lost.values():
            with contextlib.suppress(InvalidStateError):
                future.set_exception(PlannerDown("the planner died"))


def _finish(future: Future[Proposal], told: dict[str, Any]) -> None:
    if told.get("refused") is not None:
        future.set_exception(InputError(str(told["refused"])))
    elif told.get("failed") is not None:
        future.set_exception(RuntimeError(str(told["failed"])))
    else:
        future.set_result(Proposal(told.get("text"), told.get("waypoints"), told.get("skipped", ()), told.get("told", {})))


def _send(ours: Connection, outbox: queue.SimpleQueue[list[bytes] | None]) -> None:
    """Pictures may be larger than the pipe, and a child that hangs does not read it: only this thread waits then."""
    with contextlib.suppress(OSError, TypeError):  # TypeError: the pipe was closed while this thread wrote
        while (parts := outbox.get()) is not None:
            for part in parts:
                ours.send_bytes(part)
