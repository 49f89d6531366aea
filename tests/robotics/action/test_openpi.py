"""The openpi server: its stock client, histories, hostile frames, and that nobody waits for the policy but who asked it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("websockets")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from robotics.action.openpi import MOST_WAITING, OpenpiServer
from robotics.action.sessions import Sessions
from robotics.action.told import metadata, something
from robotics.action.wire import pack, unpack
from tests.robotics.policy.tiny import STATE, tiny

STOCK = Path(__file__).parents[3] / ".venv-openpi" / "bin" / "python"
HOSTILE = 200 if os.environ.get("EDGE_CASES") == "small" else 10_000


class Policy:
    """A tiny policy whose noise is the same for every chunk, slowed down on demand."""

    def __init__(self) -> None:
        self.policy = tiny(sampler="flow", kind="dit", steps=3)
        noise = self.policy.noise(1, torch.Generator().manual_seed(0))
        object.__setattr__(self.policy, "noise", lambda batch, generator=None: noise)
        self.sessions = Sessions(self.policy)
        self.slow_s = 0.0
        infer = self.sessions.infer
        self.sessions.infer = lambda name, obs: (time.sleep(self.slow_s), infer(name, obs))[1]  # type: ignore[method-assign]


@contextmanager
def running(sessions: Sessions, policy: Any, warm: bool = True, **options: Any) -> Iterator[OpenpiServer]:
    """A server in a loop of its own."""
    server, loop = OpenpiServer(sessions, metadata(policy), **options), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start("127.0.0.1", 0, something(policy) if warm else None), loop).result(60)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@pytest.fixture
def slow() -> Policy:
    return Policy()


@pytest.fixture
def server(slow) -> Iterator[OpenpiServer]:
    with running(slow.sessions, slow.policy) as server:
        yield server


class Client:
    def __init__(self, server: OpenpiServer, **headers: str) -> None:
        uri = f"ws://127.0.0.1:{server.port}"
        self.socket = connect(uri, compression=None, max_size=None, additional_headers=headers, close_timeout=2)
        self.metadata = unpack(self.socket.recv())  # type: ignore[arg-type]

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, **obs: Any) -> dict[str, Any]:
        self.socket.send(pack(obs))
        found = self.socket.recv()
        if isinstance(found, str):
            raise RuntimeError(found)
        return unpack(found)


def state(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, STATE).astype(np.float32)


def by_hand(slow: Policy, *seen: np.ndarray) -> np.ndarray:
    """What the policy says after so many observations, the last one asked about."""
    own = slow.policy.session()
    for s in seen[:-1]:
        own.observe({"state": s})
    return own.infer({"state": seen[-1]})["actions"]


def stock(server: OpenpiServer, key: str = "") -> subprocess.CompletedProcess[str]:
    if not STOCK.exists():
        pytest.skip("NO STOCK CLIENT: build its environment with `make .venv-openpi/.installed`")
    script = Path(__file__).with_name("stock_client.py")
    return subprocess.run([STOCK, script, str(server.port), str(STATE), key], capture_output=True, text=True, timeout=60)


# --- who asks, and what of --------------------------------------------------------------------------------------------------------


def test_the_stock_client(slow) -> None:
    with running(slow.sessions, slow.policy, key="secret") as server:
        done = stock(server, "secret")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["metadata"] == metadata(slow.policy)
    assert told["shapes"] == [[4, 3]] * 3
    assert told["dtype"] == "float32"
    assert told["timing"] == [["infer_ms", "queue_ms"]] + [["infer_ms", "prev_total_ms", "queue_ms"]] * 2
    assert np.allclose(told["first"], by_hand(slow, np.zeros(STATE, dtype=np.float32)))
    assert np.array(told["actions"]).shape == (6, 3)
    assert "state: must have shape [5]" in told["refused"]


def test_a_history_is_its_sessions_own(slow, server) -> None:
    with Client(server) as a, Client(server) as b:
        assert np.array_equal(a.ask(state=state(0))["actions"], by_hand(slow, state(0)))
        assert np.array_equal(b.ask(state=state(1))["actions"], by_hand(slow, state(1)))
        assert np.array_equal(a.ask(state=state(2))["actions"], by_hand(slow, state(0), state(2)))
        assert "actions" not in a.ask(state=state(3), observe=True)
        assert np.array_equal(a.ask(state=state(4))["actions"], by_hand(slow, state(3), state(4)))
        assert np.array_equal(b.ask(state=state(5), reset=True)["actions"], by_hand(slow, state(5)))
        both = np.stack([state(6), state(7)])
        assert np.array_equal(a.ask(state=both)["actions"], by_hand(slow, state(6), state(7)))


def test_a_named_history_survives_the_connection(slow, server) -> None:
    with Client(server) as a:
        a.ask(state=state(0), session="left arm")
    with Client(server) as a:
        assert np.array_equal(a.ask(state=state(1), session="left arm")["actions"], by_hand(slow, state(0), state(1)))
        assert np.array_equal(a.ask(state=state(1))["actions"], by_hand(slow, state(1)))
    deadline = time.monotonic() + 5
    while len(slow.sessions) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(slow.sessions) == 1  # that of the connection is gone, the named one stays


def test_sessions_are_as_many_as_allowed(slow) -> None:
    sessions = Sessions(slow.policy, most=2)
    for name in "abc":
        sessions.infer(name, {"state": state(0)})
    assert len(sessions) == 2
    wanted = by_hand(slow, state(1))
    assert np.array_equal(sessions.infer("a", {"state": state(1)})["actions"], wanted)  # forgotten, so it begins


def test_replies_say_what_they_answer(server) -> None:
    with Client(server) as a:
        found = a.ask(state=state(0), request_id="seven", stamp=[1, 2.5])
        assert (found["request_id"], found["stamp"]) == ("seven", [1, 2.5])
        assert "request_id" not in a.ask(state=state(0))


def test_stock_clients_at_once_and_after_a_restart(slow) -> None:
    with running(slow.sessions, slow.policy) as server:
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(stock(server))) for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if not found:
            pytest.skip("NO STOCK CLIENT: build its environment with `make .venv-openpi/.installed`")
        assert [json.loads(f.stdout)["shapes"] for f in found] == [[[4, 3]] * 3] * 2
    with running(slow.sessions, slow.policy) as server:
        assert stock(server).returncode == 0


def test_a_client_that_does_not_read_holds_up_nobody(slow, server) -> None:
    deaf = Client(server)
    for n in range(30):
        deaf.socket.send(pack({"state": state(n), "stamp": "x" * 500_000}))  # the echo alone fills what is left unread
    for n in range(20):
        with Client(server) as a:
            assert np.array_equal(a.ask(state=state(n))["actions"], by_hand(slow, state(n)))
    deaf.socket.socket.close()


# --- what it bears --------------------------------------------------------------------------------------------------------------


def test_nobody_waits_for_the_policy_but_who_asked(slow, server) -> None:
    slow.slow_s = 0.6
    with Client(server) as a:
        a.socket.send(pack({"state": state(0)}))
        time.sleep(0.1)
        begin = time.monotonic()
        with Client(server) as b:
            assert b.metadata["tasks"] == []
        assert urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=5).status == 200
        assert time.monotonic() - begin < 0.4
        assert "actions" in unpack(a.socket.recv())  # type: ignore[arg-type]


def test_it_is_not_healthy_before_it_is_warm_and_that_is_in_no_figure(slow) -> None:
    slow.slow_s = 0.3
    server, loop = OpenpiServer(slow.sessions, metadata(slow.policy)), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    starting = asyncio.run_coroutine_threadsafe(server.start("127.0.0.1", 0, something(slow.policy)), loop)
    while server._server is None:
        time.sleep(0.01)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=5)
    assert refused.value.code == 503
    refused.value.close()
    starting.result(30)
    slow.slow_s = 0.0
    assert urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=5).read() == b"OK\n"
    with Client(server) as a:
        for n in range(5):
            a.ask(state=state(n))
    assert server.times()["queries"] == 5
    assert server.times()["p95_ms"] < 300
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)


def test_one_too_many_is_told_so(slow, server) -> None:
    slow.slow_s = 0.3
    clients = [Client(server) for _ in range(MOST_WAITING + 1)]
    for c in clients:
        c.socket.send(pack({"state": state(0)}))
        time.sleep(0.01)
    found = clients[-1].socket.recv()
    assert isinstance(found, str)
    assert "busy" in found
    slow.slow_s = 0.0
    for c in clients[:-1]:
        assert isinstance(c.socket.recv(), bytes)
        c.socket.close()


def test_a_key_is_asked_for(slow) -> None:
    with running(slow.sessions, slow.policy, key="secret") as server:
        for headers in ({}, {"Authorization": "Api-Key wrong"}, {"Authorization": "secret"}):
            with pytest.raises(InvalidStatus, match="401"):
                Client(server, **headers)
        with Client(server, Authorization="Api-Key secret") as a:
            assert "actions" in a.ask(state=state(0))


def test_what_is_refused_is_told_in_a_line_and_spoils_nothing(slow, server) -> None:
    bad = float("nan")
    for message, said in (
        ("text", "send msgpack"),
        (b"\xc1", "no msgpack"),
        (pack([1]), "a map with names"),
        (pack({"state": state(0)[:2]}), "shape [5]"),
        (pack({}), "must be 5 numbers"),
        (pack({"state": "x"}), "5 numbers"),
        (pack({"state": np.full(STATE, bad, dtype=np.float32)}), "NaN or infinity"),
        (pack({"state": state(0), "session": 3}), "session: must be a text"),
    ):
        with Client(server) as a:
            a.socket.send(message)
            found = a.socket.recv()
            assert isinstance(found, str)
            assert "\n" not in found
            assert said in found
            with pytest.raises(ConnectionClosed):
                a.socket.recv()
    with Client(server) as a:
        a.ask(state=state(0), session="s")
    with Client(server) as a:  # what was refused is not remembered
        a.socket.send(pack({"state": np.full(STATE, bad, dtype=np.float32), "session": "s"}))
        a.socket.recv()
    with Client(server) as a:
        assert np.array_equal(a.ask(state=state(1), session="s")["actions"], by_hand(slow, state(0), state(1)))


def test_hostile_frames(slow, server) -> None:
    rng = np.random.default_rng(0)
    good = pack({"state": state(0), "request_id": 1})
    for n in range(HOSTILE):
        broken = bytearray(good)
        for at in rng.integers(0, len(good), rng.integers(1, 6)):
            broken[at] = rng.integers(256)
        frame = bytes(broken[: rng.integers(1, len(broken) + 1)]) if n % 2 else bytes(broken)
        with Client(server) as a:
            a.socket.send(frame)
            found = a.socket.recv()  # an answer or a line, never a closed door
            assert isinstance(found, bytes) or "internal" not in found, frame
    with Client(server) as a:
        assert np.array_equal(a.ask(state=state(1))["actions"], by_hand(slow, state(1)))


def test_a_frame_too_large_closes_its_connection_alone(slow) -> None:
    with running(slow.sessions, slow.policy, most_bytes=1000) as server, Client(server) as a:
        with Client(server) as b:
            b.socket.send(b"x" * 2000)
            with pytest.raises(ConnectionClosed):
                b.socket.recv()
        assert "actions" in a.ask(state=state(0))
