"""The goals of one client, by the ids that it gave them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.core.errors import EdgeError, InputError, UnknownNameError
from robotics.action import messages
from robotics.action.executive import Executive
from robotics.action.goals import FeedbackNotice, Goal, ResultNotice, Status
from robotics.action.rosbridge.fields import Asked, text, whole_kind

if TYPE_CHECKING:
    from robotics.action.rosbridge.client import Client

DEPTH = 10
"""Feedback of a goal that waits for a slow client: as ROS 2 keeps it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Who waits for a result."""

    client: Client


class ClientGoals:
    """Ids of rosbridge are any text, and a client's own; those of ROS are made up here."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._running: dict[str, tuple[Executive, bytes]] = {}
        self._names: dict[bytes, str] = {}

    def send(self, asked: Asked) -> None:
        name = text(asked, "id") if "id" in asked else f"goal {uuid.uuid4()}"
        action = text(asked, "action")
        try:
            if name in self._running:
                raise InputError(f"id {name[:80]!r}: is a goal of yours that is not over; send another id")
            executive = self._executive(action)
            if (kind := whole_kind(asked.get("action_type", executive.kind), "action")) != executive.kind:
                raise InputError(f"{action}: has type {executive.kind}: got {kind[:80]}")
            goal = messages.read(asked.get("args") or {}, f"{executive.kind}_Goal")
        except EdgeError as e:
            self._refuse(action, name, str(e))
            return
        self._send(executive, name, goal, bool(asked.get("feedback", False)))

    def _send(self, executive: Executive, name: str, goal: messages.Message, curious: bool) -> None:
        goal_id = uuid.uuid4().bytes
        self._running[name], self._names[goal_id] = (executive, goal_id), name
        if curious:
            self._client.server.curious[goal_id] = self._client

        def reply(accepted: Goal | None, why: str) -> None:
            if accepted is None:
                self._forget(goal_id)
                self._refuse(executive.name, name, why)

        executive.send(goal_id, goal, reply)
        if name in self._running:
            executive.ask_result(goal_id, Waiting(self._client))

    def cancel(self, asked: Asked) -> None:
        name = text(asked, "id")
        if name not in self._running:
            raise InputError(f"id {name[:80]!r}: is no goal of this connection that runs; cancel others by the service cancel_goal")
        executive, goal_id = self._running[name]
        if (found := executive.cancel(goal_id, 0)).code:
            raise InputError(f"id {name[:80]!r}: cannot be cancelled any more ({found.code.name})")

    def end(self, cancel: bool) -> None:
        """The client has gone."""
        for executive, goal_id in self._running.values():
            self._client.server.curious.pop(goal_id, None)
            executive.lost(lambda request: isinstance(request, Waiting) and request.client is self._client)
            if cancel:
                executive.cancel(goal_id, 0)
        self._running.clear()
        self._names.clear()

    def tell_feedback(self, executive: Executive, notice: FeedbackNotice) -> None:
        if (name := self._names.get(notice.id)) is None:
            return
        values = messages.show(notice.value, f"{executive.kind}_Feedback")
        told = {"op": "action_feedback", "action": executive.name, "id": name, "values": values}
        self._client.tell(told, key=f"feedback {name}", depth=DEPTH)

    def tell_result(self, executive: Executive, notice: ResultNotice) -> None:
        if (name := self._names.get(notice.id)) is None:
            return
        self._forget(notice.id)
        if notice.result is None:
            self._refuse(executive.name, name, "the goal is not known any more")
            return
        values = messages.show(notice.result, f"{executive.kind}_Result")
        told = {"op": "action_result", "action": executive.name, "id": name, "values": values}
        self._client.tell(told | {"status": int(notice.status), "result": True})

    def _refuse(self, action: str, name: str, why: str) -> None:
        told = {"op": "action_result", "action": action, "id": name, "values": why}
        self._client.tell(told | {"status": int(Status.UNKNOWN), "result": False})

    def _forget(self, goal_id: bytes) -> None:
        self._running.pop(self._names.pop(goal_id, ""), None)
        self._client.server.curious.pop(goal_id, None)

    def _executive(self, name: str) -> Executive:
        known = self._client.server.executives
        if name not in known:
            raise UnknownNameError("action", name[:60], sorted(known))
        return known[name]
