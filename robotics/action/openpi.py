"""openpi's policy server: a websocket with msgpack, for every client that speaks it.

A connection begins with the server's metadata. Then a map of an observation comes, and one with `actions` and `server_timing` goes
back; what cannot be answered is a line of text and a close (openpi's `WebsocketPolicyServer`). Beyond openpi, and left out by
clients that do not know it:

    session     text: whose history this is; without one, the connection's own. It outlives the connection.
    request_id, stamp   anything: come back as they are, so that a late reply is not taken for another one's.
    observe     true: note the state and answer at once, for a robot that observes oftener than it asks
    reset       true: a new episode begins with this observation

`observation/state` and `observation/image` are read as `state` and `image`. The policy runs in a thread of its own, so that
handshakes, health and other clients do not wait for it; `/healthz` says OK once it is warm, and the warm-up is in no figure.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from edge.core.errors import EdgeError, InputError
from robotics.action.sessions import Sessions
from robotics.action.websocket import ConnectionClosed, ServerConnection, WebsocketServer
from robotics.action.wire import pack, unpack

LOG = logging.getLogger(__name__)
ALIASES = {"observation/state": "state", "observation/image": "image"}
ECHOED = ("request_id", "stamp")
MOST_WAITING = 8
"""Queries that may wait for the policy; one more is refused, and its client asks again with what it sees then."""
REMEMBERED = 1000
"""Queries whose times are told."""


class OpenpiServer(WebsocketServer):
    """One policy for many robots."""

    def __init__(self, sessions: Sessions, metadata: Mapping[str, Any], **limits: Any) -> None:
        """metadata: what a client is told first; limits: of `WebsocketServer`."""
        super().__init__(**limits)
        self.sessions = sessions
        self._metadata = pack(dict(metadata))
        self._thread = ThreadPoolExecutor(1, "policy")
        self._waiting = 0
        self._ms: deque[float] = deque(maxlen=REMEMBERED)

    async def start(self, host: str, port: int, warm_up: Mapping[str, Any] | None = None) -> None:
        """warm_up: an observation that is answered twice before anybody's."""
        await self.open(host, port)
        if warm_up is not None:
            for _ in range(2):
                await self._call(self.sessions.infer, "warm-up", warm_up)
            self.sessions.forget("warm-up")
        self.warm = True

    async def stop(self) -> None:
        await self.close()
        self._thread.shutdown(cancel_futures=True)

    def times(self) -> dict[str, float]:
        """Milliseconds of the last queries."""
        if not self._ms:
            return {}
        return {"p50_ms": float(np.quantile(self._ms, 0.5)), "p95_ms": float(np.quantile(self._ms, 0.95)), "queries": len(self._ms)}

    # --- one client ---------------------------------------------------------------------------------------------------------------

    async def connected(self, connection: ServerConnection) -> None:
        own, before = f"connection {id(connection)}", None
        try:
            await connection.send(self._metadata)
            async for message in self.messages(connection):
                begin = time.perf_counter()
                try:
                    reply = await self._answer(message, own)
                except EdgeError as e:
                    await self._refuse(connection, str(e))
                    return
                except Exception as e:  # a bug of ours; its client is told, and everybody else goes on
                    LOG.exception("a query failed")
                    await self._refuse(connection, f"internal error: {type(e).__name__}; the server's log has more")
                    return
                if before is not None:
                    reply.setdefault("server_timing", {})["prev_total_ms"] = before
                await connection.send(pack(reply))
                before = 1000 * (time.perf_counter() - begin)
        except ConnectionClosed:
            pass
        finally:
            self.sessions.forget(own)

    async def _refuse(self, connection: ServerConnection, said: str) -> None:
        await connection.send(said)
        await connection.close(1011, "see the message before")

    async def _answer(self, message: str | bytes, own: str) -> dict[str, Any]:
        """Raises InputError for what is no observation, and whatever the policy says of it."""
        if isinstance(message, str):
            raise InputError("message: is text; send msgpack, as openpi does")
        obs = unpack(message)
        if not isinstance(obs, dict) or not all(isinstance(k, str) for k in obs):
            raise InputError(f"message: must be a map with names: got {type(obs).__name__}")
        echo = {k: obs.pop(k) for k in ECHOED if k in obs}
        name = obs.pop("session", own)
        if not isinstance(name, str) or len(name) > 200:
            raise InputError("session: must be a text of at most 200 characters")
        if obs.pop("reset", False):
            self.sessions.forget(name)
        observe = bool(obs.pop("observe", False))
        obs = {ALIASES.get(str(k), str(k)): v for k, v in obs.items()}
        found, waited, spent = await self._call(self.sessions.observe if observe else self.sessions.infer, name, obs)
        if not observe:
            self._ms.append(spent)
        return {**found, **echo, "server_timing": {"infer_ms": spent, "queue_ms": waited}}

    async def _call(self, work: Any, name: str, obs: Mapping[str, Any]) -> tuple[dict[str, Any], float, float]:
        """What the policy says, the milliseconds that it was not yet looking, and those that it took."""
        if self._waiting >= MOST_WAITING:
            raise InputError(f"busy: {self._waiting} queries wait already; ask again with a newer observation")
        self._waiting += 1
        asked = time.perf_counter()

        def run() -> tuple[dict[str, Any], float, float]:
            begin = time.perf_counter()
            found = work(name, obs)
            return found, 1000 * (begin - asked), 1000 * (time.perf_counter() - begin)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        finally:
            self._waiting -= 1
