"""Services that a bridge offers beside its actions: what `rosapi` tells of topics and actions, and the cancel service of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge.core.errors import InputError, UnknownNameError
from robotics.action import messages, standard
from robotics.action.executive import Executive, now_ns
from robotics.action.topics import Board

CANCEL = "action_msgs/srv/CancelGoal"
Service = Callable[[dict[str, Any]], dict[str, Any]]
"""From the fields of a request, as JSON, to those of the response. Raises EdgeError for a request that it cannot answer."""


def cancel(executive: Executive, request: Mapping[str, Any]) -> dict[str, Any]:
    """action_msgs/srv/CancelGoal, from and to JSON: by id, by time, both or, empty, all."""
    asked = messages.read(request, f"{CANCEL}_Request")["goal_info"]
    found = executive.cancel(bytes(asked["goal_id"]["uuid"]), standard.ns_of(asked["stamp"]))
    return messages.show(cancelled(found), f"{CANCEL}_Response")


def cancelled(found: Any) -> messages.Message:
    """A `Cancelled` as the service's response."""
    return {"return_code": int(found.code), "goals_canceling": [goal_info(*g) for g in found.goals]}


def goal_info(goal_id: bytes, stamp_ns: int) -> messages.Message:
    return {"goal_id": {"uuid": uuid_array(goal_id)}, "stamp": standard.time_of(stamp_ns)}


def uuid_array(goal_id: bytes) -> Any:
    import numpy as np

    return np.frombuffer(goal_id, np.uint8)


def status_array(executive: Executive) -> messages.Message:
    """action_msgs/msg/GoalStatusArray of all goals that are known."""
    rows = executive.statuses()
    return {"status_list": [{"goal_info": goal_info(i, s), "status": int(status)} for i, s, status in rows]}


def offered(executives: Sequence[Executive], board: Board) -> dict[str, tuple[str, Service]]:
    """By name: type and service."""
    actions = {e.name: e for e in executives}

    def topics(_: Mapping[str, Any]) -> dict[str, Any]:
        found = board.topics()
        return {"topics": list(found), "types": list(found.values())}

    def topic_type(request: Mapping[str, Any]) -> dict[str, Any]:
        return {"type": board.topics().get(str(request.get("topic")), "")}

    def action_servers(_: Mapping[str, Any]) -> dict[str, Any]:
        return {"action_servers": list(actions)}

    def action_type(request: Mapping[str, Any]) -> dict[str, Any]:
        name = str(request.get("action"))
        return {"type": actions[name].kind if name in actions else ""}

    def services(_: Mapping[str, Any]) -> dict[str, Any]:
        return {"services": list(out)}

    def service_type(request: Mapping[str, Any]) -> dict[str, Any]:
        return {"type": out.get(str(request.get("service")), ("", None))[0]}

    def get_time(_: Mapping[str, Any]) -> dict[str, Any]:
        return {"time": standard.time_of(now_ns())}

    out: dict[str, tuple[str, Service]] = {
        "/rosapi/topics": ("rosapi_msgs/srv/Topics", topics),
        "/rosapi/topic_type": ("rosapi_msgs/srv/TopicType", topic_type),
        "/rosapi/action_servers": ("rosapi_msgs/srv/GetActionServers", action_servers),
        "/rosapi/action_type": ("rosapi_msgs/srv/ActionType", action_type),
        "/rosapi/services": ("rosapi_msgs/srv/Services", services),
        "/rosapi/service_type": ("rosapi_msgs/srv/ServiceType", service_type),
        "/rosapi/get_time": ("rosapi_msgs/srv/GetTime", get_time),
    }
    for e in executives:
        out[f"{e.name}/_action/cancel_goal"] = (CANCEL, lambda request, e=e: cancel(e, request))
    return out


def call(services: Mapping[str, tuple[str, Service]], name: Any, request: Any) -> dict[str, Any]:
    """Raises UnknownNameError for a service that is not offered, InputError for a request that is no object."""
    if name not in services:
        raise UnknownNameError("service", str(name)[:60], sorted(services))
    if not isinstance(request, dict):
        raise InputError(f"{name}: args must be an object: got {type(request).__name__}")
    return services[name][1](request)
