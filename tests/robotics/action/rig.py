"""What tests of transports share: an action whose job counts, and a loop in a thread of its own for servers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from robotics.action.executive import Ended, Failed, Run, Stopped
from robotics.action.messages import Message, empty

ACT = "edge_msgs/action/Act"


class Counting:
    """Counts to `max_steps`, 20 ms a step, feedback at each. Tasks: "refuse" is not taken, "fail" fails, "burst" counts at once,
    "stay" is done though it was cancelled.
    """

    kind = ACT
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def refusal(self, goal: Message) -> str | None:
        return "this one is not taken" if goal["task"] == "refuse" else None

    def run(self, goal: Message, here: Run) -> Generator[Message, None, Message]:
        step = 0
        try:
            for step in range(1, goal["max_steps"] + 1):
                if goal["task"] != "burst":
                    here.pause(0.02)
                yield empty(f"{ACT}_Feedback") | {"step": step, "progress": step / goal["max_steps"], "budget": "none"}
                if goal["task"] == "fail":
                    raise Failed(result(False, step, "it failed"))
        except Stopped as e:
            if goal["task"] == "stay":
                return result(True, step, "done all the same")
            raise Ended(result(False, step, e.why)) from None
        return result(True, step, "counted")


def result(success: bool, steps: int, message: str) -> Message:
    return empty(f"{ACT}_Result") | {"success": success, "steps": steps, "message": message}


@contextmanager
def looping() -> Iterator[Any]:
    """Gives a function that runs a coroutine in an event loop of its own thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def until(ready: Any, seconds: float = 10.0) -> Any:
    """What `ready` returns, once that is something."""
    end = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    return found
