"""Types of ROS 2: what is on a wire, and what its hash is.

Messages that ROS 2 itself comes with are those of `rosbags`; the folders beside this file hold the definitions of the others,
`edge_msgs` as a package that a ROS 2 workspace builds. Types of services and actions are spelled out as `rosidl` does:
`X_Request`, `X_Response` and `X_Event` of a service, goal, result, feedback, two services and a feedback message of an action.
Source of the hashes: REP-2016 (RIHS01).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from edge.core.errors import InputError, MissingExtraError, UnknownNameError

try:
    from rosbags.interfaces import Nodetype
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    from rosbags.typesys.store import Typestore
except ImportError as e:
    raise MissingExtraError("rosbags", "robot", "messages of ROS 2") from e

FOLDER = Path(__file__).parent
NOTHING = "structure_needs_at_least_one_member"
"""What an empty message holds on the wire, a byte."""
UUID = "unique_identifier_msgs/msg/UUID"
EVENT = "service_msgs/msg/ServiceEventInfo"
LONGEST = 1 << 24
"""Elements of a sequence from the wire."""

Field = tuple[str, Any]


@cache
def types() -> Typestore:
    """All that there are."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.max_sequence_length = LONGEST
    # a char of a .msg file is a uint8, on the wire and in hashes; rosbags hashes it as what IDL calls one
    constants, fields = store.fielddefs.pop(EVENT)
    store.types.pop(EVENT)
    store.register({EVENT: (constants, [(n, _array("uint8", 16) if n == "client_gid" else d) for n, d in fields])})
    for file in sorted(FOLDER.rglob("*.msg")) + sorted(FOLDER.rglob("*.srv")) + sorted(FOLDER.rglob("*.action")):
        _register(store, _name(file), file.read_text(encoding="utf-8"))
    return store


def fields(name: str) -> list[Field]:
    """A message's fields in order: name and description (see `rosbags`). Raises UnknownNameError."""
    store = types()
    if name not in store.fielddefs:
        raise UnknownNameError("message type", name, sorted(store.fielddefs))
    return [(n, d) for n, d in store.fielddefs[name][1] if n != NOTHING]


def rihs01(name: str) -> str:
    """The hash of a message, or of a service or an action as a whole. Raises UnknownNameError."""
    fields(name)
    return types().hash_rihs01(name)


def dds_name(name: str) -> str:
    """As middlewares call it: `pkg/msg/X` is `pkg::msg::dds_::X_`."""
    package, kind, last = name.split("/")
    return f"{package}::{kind}::dds_::{last}_"


def _name(file: Path) -> str:
    return f"{file.parent.parent.name}/{file.parent.name}/{file.stem}"


def _register(store: Typestore, name: str, text: str) -> None:
    parts = [p.strip("\n") for p in f"\n{text}\n".split("\n---\n")]
    kind = name.split("/")[1]
    if len(parts) != {"msg": 1, "srv": 2, "action": 3}[kind]:
        raise InputError(f"{name}: a definition of kind {kind} has another number of parts than {len(parts)}")
    if kind == "msg":
        _message(store, name, text)
    elif kind == "srv":
        for suffix, part in zip(("Request", "Response"), parts, strict=True):
            _message(store, f"{name}_{suffix}", part)
        _service(store, name)
    else:
        for suffix, part in zip(("Goal", "Result", "Feedback"), parts, strict=True):
            _message(store, f"{name}_{suffix}", part)
        _action(store, name)


def _action(store: Typestore, name: str) -> None:
    """What `rosidl` makes of an action beside its three messages."""
    time = _of("builtin_interfaces/msg/Time")
    made: dict[str, list[Field]] = {
        "SendGoal_Request": [("goal_id", _of(UUID)), ("goal", _of(f"{name}_Goal"))],
        "SendGoal_Response": [("accepted", _base("bool")), ("stamp", time)],
        "GetResult_Request": [("goal_id", _of(UUID))],
        "GetResult_Response": [("status", _base("int8")), ("result", _of(f"{name}_Result"))],
        "FeedbackMessage": [("goal_id", _of(UUID)), ("feedback", _of(f"{name}_Feedback"))],
    }
    for suffix, found in made.items():
        store.register({f"{name}_{suffix}": ([], found)})
    _service(store, f"{name}_SendGoal")
    _service(store, f"{name}_GetResult")
    parts = [("goal", "Goal"), ("result", "Result"), ("feedback", "Feedback")]
    parts += [("send_goal_service", "SendGoal"), ("get_result_service", "GetResult"), ("feedback_message", "FeedbackMessage")]
    store.register({name: ([], [(field, _of(f"{name}_{suffix}")) for field, suffix in parts])})


def _service(store: Typestore, name: str) -> None:
    event = [("info", _of(EVENT))]
    event += [(n, (Nodetype.SEQUENCE, (_of(f"{name}_{n.title()}"), 1))) for n in ("request", "response")]
    store.register({f"{name}_Event": ([], event)})
    store.register({name: ([], [(f"{n}_message", _of(f"{name}_{n.title()}")) for n in ("request", "response", "event")])})


def _message(store: Typestore, name: str, text: str) -> None:
    found = get_types_from_msg("\n".join(_without_comments(text)), "any_msgs/msg/Any")["any_msgs/msg/Any"]
    store.register({name: (found[0], found[1] or [(NOTHING, _base("uint8"))])})


def _without_comments(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if kept := line.split("#")[0].strip():
            yield kept
    yield ""


def _base(name: str) -> Any:
    return (Nodetype.BASE, (name, 0))


def _of(name: str) -> Any:
    return (Nodetype.NAME, name)


def _array(name: str, count: int) -> Any:
    return (Nodetype.ARRAY, (_base(name), count))
