"""Run in a process of its own: a ROS 2 node of dora-rs over Zenoh, told what to do by lines of JSON, one answer each."""

import json
import sys
import time

import dora  # pyright: ignore[reportMissingImports]
import pyarrow as pa  # pyright: ignore[reportMissingImports]
from rosbags.interfaces import Nodetype

from robotics.action.interfaces import fields

prefix, config, profile = sys.argv[1:4]
context = dora.Ros2Context([prefix], dora.Ros2Transport.zenoh(profile, config))
node = context.new_node("peer", "/test", dora.Ros2NodeOptions(False))
qos = dora.Ros2QosPolicies(reliable=True, keep_last=10)
latched = dora.Ros2QosPolicies(reliable=True, keep_last=1, durability=dora.Ros2Durability.TransientLocal)
clients: dict = {}
publishers: dict = {}
subscriptions: dict = {}


def plain(found):
    return None if found is None else found[0].as_py()


def kind_of(desc):
    """dora wants the exact widths of numbers."""
    what, rest = desc
    if what == Nodetype.NAME:
        return pa.struct([pa.field(n, kind_of(d)) for n, d in fields(rest)])
    if what == Nodetype.BASE:
        return {"string": pa.string(), "bool": pa.bool_()}.get(rest[0]) or getattr(pa, rest[0])()
    inner = kind_of(rest[0])
    return pa.list_(inner, rest[1]) if what == Nodetype.ARRAY else pa.list_(inner)


def arrow(message, kind):
    return pa.array([message], type=kind_of((Nodetype.NAME, kind)))


def answer(asked):
    what = asked["do"]
    if what == "client":
        clients[asked["action"]] = node.create_action_client(asked["action"], asked["type"], qos)
        return True
    if what == "send":
        return clients[asked["action"]].send_goal(arrow(asked["goal"], asked["type"] + "_Goal"), timeout_s=10)
    if what == "feedback":
        client, end = clients[asked["action"]], time.monotonic() + asked.get("wait", 5)
        while (found := client.take_feedback(asked["id"], timeout_s=1)) is None and time.monotonic() < end:
            pass  # it was another goal's
        return plain(found)
    if what == "result":
        found = clients[asked["action"]].take_result(asked["id"], timeout_s=20)
        return None if found is None else [found[0], plain(found[1])]
    if what == "cancel":
        return clients[asked["action"]].cancel(asked.get("id"), timeout_s=10)
    if what == "publish":
        name = asked["topic"]
        if name not in publishers:
            publishers[name] = node.create_publisher(node.create_topic(name, asked["type"], qos))
        publishers[name].publish(arrow(asked["message"], asked["type"].replace("/", "/msg/")))
        return True
    if what == "subscribe":
        how = latched if asked.get("latched") else qos
        subscriptions[asked["topic"]] = node.create_subscription(node.create_topic(asked["topic"], asked["type"], how))
        return True
    if what == "next":
        end = time.monotonic() + asked.get("wait", 10)
        while (found := subscriptions[asked["topic"]].next()) is None and time.monotonic() < end:
            time.sleep(0.01)
        return plain(found)
    raise ValueError(what)


sys.stdout.write(json.dumps({"found": "ready"}) + "\n")
sys.stdout.flush()
for line in sys.stdin:
    try:
        told = {"found": answer(json.loads(line))}
    except Exception as e:
        told = {"error": f"{type(e).__name__}: {e}"[:300]}
    sys.stdout.write(json.dumps(told, default=str) + "\n")
    sys.stdout.flush()
