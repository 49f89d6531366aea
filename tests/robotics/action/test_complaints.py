"""What users of other policy servers complain of, one test each: it does not happen here."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip("websockets")
pytest.importorskip("rosbags")

from robotics.action.executive import Executive
from robotics.action.jobs.act import Act, Robot
from robotics.action.realtime import Beside, Execution, PolicySession
from robotics.action.rosbridge.server import RosbridgeServer
from robotics.action.sim.link import Link
from robotics.action.topics import Board
from robotics.action.wire import pack, unpack
from tests.robotics.action.rig import looping, until
from tests.robotics.action.test_jobs import Rig
from tests.robotics.action.test_openpi import Client, Policy, by_hand, running, state
from tests.robotics.policy.tiny import tiny


@pytest.fixture
def slow() -> Policy:
    return Policy()


@pytest.fixture
def server(slow):
    with running(slow.sessions, slow.policy) as server:
        yield server


def quick(work: Any) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def test_a_query_stalls_no_handshake_no_other_client_and_nobody_who_leaves(slow, server) -> None:
    """The policy is called in the event loop, so that nothing else is answered meanwhile."""
    slow.slow_s = 0.8
    with Client(server) as a:
        leaving = Client(server)
        leaving.socket.send(pack({"state": state(0)}))
        a.socket.send(pack({"state": state(0)}))
        time.sleep(0.1)
        leaving.socket.socket.close()  # its history is forgotten while the policy is busy with it
        time.sleep(0.1)
        assert quick(lambda: Client(server).socket.close()) < 0.4
        assert "actions" in unpack(a.socket.recv())  # type: ignore[arg-type]


def test_the_first_call_is_no_measure_of_the_others(slow, server) -> None:
    """Its latency stays in the estimate of delays, and the first chunks skip nearly all of their actions."""
    assert server.times() == {}  # of warming up nothing is told
    rig = Rig()
    sessions: list[PolicySession] = []
    worker, waits = Beside(), iter([0.4, 0.3] + [0.0] * 100)
    future = rig.policy.future
    object.__setattr__(rig.policy, "future", lambda *a: (time.sleep(next(waits)), future(*a))[1])

    def session(generator: Any) -> PolicySession:
        sessions.append(PolicySession([rig.policy], worker, Execution("newest"), generator=generator))
        return sessions[-1]

    rig.executive.job._session = session  # type: ignore[attr-defined]
    rig.begin()
    for n in range(1, 80):
        rig.state(n * 1000)
        until(lambda n=n: len(rig.commands) == n)
        time.sleep(0.015)
    first = next(i for i, (_, action) in enumerate(rig.commands) if action[:2].any())
    assert first > 5  # it held while the first chunk was made
    assert sessions[0].delay <= 3
    assert sessions[0].chunks.stale == 0  # and skipped nothing of it: a robot that holds does not move on
    rig.executive.close()
    worker.close()


def test_a_late_reply_is_not_taken_for_the_next_one(slow, server) -> None:
    """After a timeout the reply to the last query is read as that to the next."""
    slow.slow_s = 0.4
    with Client(server) as a:
        a.socket.send(pack({"state": state(0), "request_id": 1, "stamp": 10}))
        with pytest.raises(TimeoutError):
            a.socket.recv(timeout=0.05)
        slow.slow_s = 0.0
        a.socket.send(pack({"state": state(1), "request_id": 2, "stamp": 20}))
        replies = [unpack(a.socket.recv()) for _ in range(2)]  # type: ignore[arg-type]
        assert [(r["request_id"], r["stamp"]) for r in replies] == [(1, 10), (2, 20)]
        assert np.array_equal(replies[1]["actions"], by_hand(slow, state(0), state(1)))


def test_a_command_says_which_state_it_answers() -> None:
    """Actions that cannot be told from those for an older observation."""
    rig = Rig()
    rig.begin()
    for stamp in (3000, 5000, 9000):
        rig.state(stamp)
        until(lambda stamp=stamp: rig.commands and rig.commands[-1][0] == stamp)
    rig.executive.close()


def test_a_history_survives_a_lost_connection(slow, server) -> None:
    """Reconnecting begins an episode anew, in the middle of it."""
    lost = Client(server)
    lost.ask(state=state(0), session="arm")
    lost.socket.socket.close()
    with Client(server) as back:
        assert np.array_equal(back.ask(state=state(1), session="arm")["actions"], by_hand(slow, state(0), state(1)))


def test_policies_that_look_at_several_observations_have_them(slow, server) -> None:
    """predict_action_chunk bypasses the queue of observations, and the server crashes or sees the same one twice."""
    with Client(server) as a:
        for n in range(4):
            found = a.ask(state=state(n))["actions"]
        assert np.array_equal(found, by_hand(slow, state(2), state(3)))


def test_a_cancel_is_heard_and_services_answer_while_a_goal_runs() -> None:
    """Goals are worked on in the thread that receives, so that a cancel comes when all is over."""
    board, policy, started = Board(), tiny(sampler="flow", kind="dit", steps=3), threading.Event()
    future = policy.future

    def slowly(*args: Any) -> Any:
        started.set()
        time.sleep(0.6)
        return future(*args)

    object.__setattr__(policy, "future", slowly)
    worker, robot = Beside(), Robot()
    robot.declare(board)
    job = Act(policy, lambda g: PolicySession([policy], worker, Execution("newest"), generator=g), robot)
    executive = Executive("/act", job, board)
    with looping() as run:
        server = RosbridgeServer([executive], board)
        run(server.start("127.0.0.1", 0))
        link = Link(f"ws://127.0.0.1:{server.port}")
        from robotics.action import standard
        from robotics.action.messages import empty

        sent = link.send("/act", Act.kind, empty(f"{Act.kind}_Goal"))
        until(lambda: executive.statuses())
        time.sleep(0.1)
        link.publish("/joint_states", standard.STATE, standard.joint_state(np.zeros(5), 1))
        assert started.wait(5)
        assert quick(lambda: Link(f"ws://127.0.0.1:{server.port}").close()) < 0.4
        begin = time.monotonic()
        sent.cancel()
        sent.result()
        assert time.monotonic() - begin < 0.4
        link.close()
        run(server.stop())
    executive.close()
    worker.close()


def test_nothing_from_the_wire_is_run(slow, server) -> None:
    """Pickles from the network (CVE-2026-25874): what would run code is refused as what it is, no message."""
    import pickle

    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("code from the wire was run",))

    for frame in (pickle.dumps(Bomb()), pack({"state": pickle.dumps(Bomb())})):
        with Client(server) as a:
            a.socket.send(frame)
            assert isinstance(a.socket.recv(), str)
