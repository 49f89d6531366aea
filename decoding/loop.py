"""The one loop: drive a strategy on a host until it ends."""

from __future__ import annotations

from collections.abc import Generator

from edge.core.types import Call, Host, Keep, Reply, Strategy


def run(strategy: Strategy, host: Host) -> Generator[Call, None, None]:
    """Answer every request of `strategy` from `host`; yields each call after its reply was digested.

    Closing the iterator half-way closes the strategy at its last request: the canvas stays as it was, and rows that were not
    kept vanish at the host's next forward.
    """
    request: Call | Keep
    answer: Reply | None = None
    done: Call | None = None
    try:
        while True:
            try:
                request = strategy.send(answer)
            except StopIteration:
                if done is not None:
                    yield done
                return
            if isinstance(request, Keep):
                host.keep(request.rows)
                answer = None
                continue
            if done is not None:
                yield done
            answer = host.forward(request)
            done = request
    finally:
        strategy.close()
