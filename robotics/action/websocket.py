"""What all websocket servers here have in common: who may connect, how much they may send, and how they are told to wait."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from edge.core.errors import MissingExtraError

try:
    from websockets.asyncio.server import Server, ServerConnection, serve
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response
except ImportError as e:
    raise MissingExtraError("websockets", "robot", "websockets") from e

MOST_BYTES = 16 << 20
"""Of a message."""
MOST_PER_SECOND = 2000.0
"""Messages of a connection; one that sends more is read more slowly."""
MOST_CONNECTIONS = 64


class Pace:
    """A bucket of tokens: as many messages as a second allows at once, then no more than that on average."""

    def __init__(self, per_second: float) -> None:
        self._rate, self._tokens, self._then = per_second, per_second, time.monotonic()

    def wait_s(self) -> float:
        """Take one; how long to wait before it counts."""
        now = time.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._then) * self._rate) - 1
        self._then = now
        return max(0.0, -self._tokens / self._rate)


class WebsocketServer:
    """A server on one port. `start` returns once it is open; `port` is then known. `/healthz` says OK once `warm` is true."""

    def __init__(
        self,
        *,
        key: str | None = None,
        most_bytes: int = MOST_BYTES,
        per_second: float = MOST_PER_SECOND,
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        """key: that clients have to show, in a header `Authorization: Api-Key KEY` or `Bearer KEY`, or as `?key=KEY` where they
        cannot set one, in a browser.
        """
        self.key, self.most_bytes, self.per_second, self.most_connections = key, most_bytes, per_second, most_connections
        self.warm = False
        self._server: Server | None = None

    async def open(self, host: str, port: int) -> None:
        """Raises OSError for a port that cannot be had."""
        self._server = await serve(
            self.connected,
            host,
            port,
            process_request=self._request,
            compression=None,
            max_size=self.most_bytes,
            ping_timeout=None,
        )

    async def connected(self, connection: ServerConnection) -> None:
        """One client, until it goes."""
        raise NotImplementedError

    async def messages(self, connection: ServerConnection) -> AsyncIterator[str | bytes]:
        """What a client sends, no faster than it may. Ends when it goes."""
        pace = Pace(self.per_second)
        try:
            async for message in connection:
                if (late := pace.wait_s()) > 0:
                    await asyncio.sleep(late)
                yield message
        except ConnectionClosed:
            return

    @property
    def port(self) -> int:
        assert self._server is not None
        return next(iter(self._server.sockets)).getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        asked = urlsplit(request.path)
        if asked.path == "/healthz":
            return connection.respond(
                HTTPStatus.OK if self.warm else HTTPStatus.SERVICE_UNAVAILABLE, "OK\n" if self.warm else "warming up\n"
            )
        if self.key is not None and not self._shown(request.headers.get("Authorization", ""), parse_qs(asked.query).get("key", [])):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "send the header Authorization: Api-Key KEY\n")
        if self._server is not None and len(self._server.connections) >= self.most_connections:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, f"{self.most_connections} clients are connected; come back\n")
        return None

    def _shown(self, header: str, query: list[str]) -> bool:
        assert self.key is not None
        kind, _, value = header.partition(" ")
        shown = value if kind in ("Api-Key", "Bearer") else query[0] if query else ""
        return hmac.compare_digest(shown.encode(), self.key.encode())
