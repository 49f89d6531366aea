"""The server: who is there, and who is told what happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from robotics.action import services
from robotics.action.executive import Executive
from robotics.action.goals import FeedbackNotice, Notice, ResultNotice, StatusNotice
from robotics.action.rosbridge.client import Client
from robotics.action.rosbridge.goals import Waiting
from robotics.action.topics import Board
from robotics.action.websocket import ConnectionClosed, ServerConnection, WebsocketServer

STATUSES = "action_msgs/msg/GoalStatusArray"


class RosbridgeServer(WebsocketServer):
    """Actions and topics for any number of clients. cancels_lost: goals of a client that goes away are cancelled; in ROS they go
    on."""

    def __init__(self, executives: Sequence[Executive], board: Board, *, cancels_lost: bool = False, **limits: Any) -> None:
        super().__init__(**limits)
        self.executives, self.board, self.cancels_lost = {e.name: e for e in executives}, board, cancels_lost
        self.services = services.offered(executives, board)
        self.curious: dict[bytes, Client] = {}
        """By goal: who wants its feedback."""
        self._ends: list[Callable[[], None]] = []

    async def start(self, host: str, port: int) -> None:
        for e in self.executives.values():
            self.board.declare(status_topic(e), STATUSES)
            self._ends.append(e.listen(lambda notice, e=e: self._hear(e, notice)))
        await self.open(host, port)
        self.warm = True

    async def stop(self) -> None:
        for end in self._ends:
            end()
        await self.close()

    async def connected(self, connection: ServerConnection) -> None:
        client = Client(self, asyncio.get_running_loop())
        writing = asyncio.create_task(self._write(connection, client))
        try:
            async for message in self.messages(connection):
                client.heard(message)
        finally:
            client.gone()
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing

    async def _write(self, connection: ServerConnection, client: Client) -> None:
        try:
            while not client.behind:
                await connection.send(await client.outbox.get())
            await connection.close(1008, "does not read")
        except ConnectionClosed:
            pass

    def _hear(self, executive: Executive, notice: Notice) -> None:
        """In the thread of whoever caused it."""
        if isinstance(notice, StatusNotice):
            self.board.put(status_topic(executive), services.status_array(executive))
        elif isinstance(notice, ResultNotice):
            if isinstance(notice.request, Waiting):
                notice.request.client.later(lambda client, n=notice: client.goals.tell_result(executive, n))
        elif isinstance(notice, FeedbackNotice) and (client := self.curious.get(notice.id)) is not None:
            client.later(lambda c, n=notice: c.goals.tell_feedback(executive, n))


def status_topic(executive: Executive) -> str:
    return f"{executive.name}/_action/status"
