"""Goals that run in threads: what is told in which order, superseded and cancelled ones, and topics whose newest message counts."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Generator

import pytest

pytest.importorskip("rosbags")

from edge.core.errors import InputError, UnknownNameError
from robotics.action.complaints import Complaints
from robotics.action.executive import Executive, Run
from robotics.action.goals import CancelCode, FeedbackNotice, ResultNotice, Status, StatusNotice
from robotics.action.messages import Message, empty
from robotics.action.topics import MOST_TOPICS, Board
from tests.robotics.action.rig import ACT, Counting, until

GOAL = empty(f"{ACT}_Goal")


class Ear:
    """All that an executive tells, and what goals were answered, in one order."""

    def __init__(self, executive: Executive) -> None:
        self.executive, self.told = executive, []
        executive.listen(self.told.append)

    def send(self, number: int, **fields: object) -> bool:
        goal_id = number.to_bytes(16, "big")
        accepted = []

        def reply(goal, why):
            accepted.append(goal is not None)
            self.told.append(("reply", goal_id, why))

        self.executive.send(goal_id, GOAL | fields, reply)
        if accepted == [True]:
            self.executive.ask_result(goal_id, number)
        return accepted == [True]

    def of(self, number: int) -> list:
        goal_id = number.to_bytes(16, "big")
        return [t for t in self.told if (t[1] if isinstance(t, tuple) else getattr(t, "id", None)) == goal_id]

    def result(self, number: int) -> ResultNotice:
        return until(lambda: [t for t in self.of(number) if isinstance(t, ResultNotice)])[0]


@pytest.fixture
def ear():
    executive = Executive("/count", Counting(), Board(), result_timeout_ns=10**18)
    yield Ear(executive)
    executive.close()


def test_a_goal_is_answered_before_anything_else_is_told_of_it(ear) -> None:
    for n in range(1, 30):
        assert ear.send(n, max_steps=3, task="burst")
        assert ear.result(n).status == Status.SUCCEEDED
        kinds = [type(t).__name__ for t in ear.of(n)]
        assert kinds == ["tuple", *["FeedbackNotice"] * 3, "ResultNotice"]
        assert [t.value["step"] for t in ear.of(n)[1:4]] == [1, 2, 3]


def test_a_newer_goal_supersedes_the_one_that_runs(ear) -> None:
    ear.send(1, max_steps=5000)
    until(lambda: [t for t in ear.of(1) if isinstance(t, FeedbackNotice)])
    ear.send(2, max_steps=2)
    assert ear.result(1).status == Status.ABORTED
    assert "superseded" in ear.result(1).result["message"]
    assert ear.result(2).status == Status.SUCCEEDED
    first_of_second = ear.told.index(next(t for t in ear.of(2) if isinstance(t, FeedbackNotice)))
    last_of_first = max(i for i, t in enumerate(ear.told) if isinstance(t, FeedbackNotice) and t.id == (1).to_bytes(16, "big"))
    assert last_of_first < first_of_second  # one at a time


def test_cancels_and_rejections(ear) -> None:
    assert not ear.send(1, task="refuse")
    assert ear.of(1)[0][2] == "this one is not taken"
    ear.send(2, max_steps=5000)
    assert not ear.send(2, max_steps=1)
    assert "known already" in ear.of(2)[-1][2]
    assert not ear.send(0)
    found = ear.executive.cancel((2).to_bytes(16, "big"), 0)
    assert (found.code, len(found.goals)) == (CancelCode.NONE, 1)
    assert ear.result(2).status == Status.CANCELED
    assert ear.executive.cancel((2).to_bytes(16, "big"), 0).code == CancelCode.GOAL_TERMINATED
    assert ear.executive.cancel((9).to_bytes(16, "big"), 0).code == CancelCode.UNKNOWN_GOAL_ID


def test_jobs_that_break_abort_their_goal_alone() -> None:
    class Broken(Counting):
        def run(self, goal: Message, here: Run) -> Generator[Message, None, Message]:
            yield empty(f"{ACT}_Feedback")
            raise {"bug": ZeroDivisionError("x"), "said": InputError("thing: rule")}[goal["task"]]

    executive = Executive("/broken", Broken(), Board())
    ear = Ear(executive)
    ear.send(1, task="bug")
    assert "internal error: ZeroDivisionError" in ear.result(1).result["message"]
    ear.send(2, task="said")
    assert (ear.result(2).status, ear.result(2).result["message"]) == (Status.ABORTED, "thing: rule")
    executive.close()


def test_results_are_forgotten_in_time() -> None:
    executive = Executive("/count", Counting(), Board(), result_timeout_ns=200_000_000)
    ear = Ear(executive)
    ear.send(1, max_steps=1, task="burst")
    assert ear.result(1).status == Status.SUCCEEDED
    until(lambda: not executive.statuses())  # nobody asks for anything meanwhile
    assert isinstance(ear.told[-1], StatusNotice)
    executive.close()


def test_a_server_that_goes_away_ends_its_goals(ear) -> None:
    ear.send(1, max_steps=5000)
    until(lambda: len(ear.of(1)) > 2)
    begin = time.monotonic()
    ear.executive.close()
    assert time.monotonic() - begin < 2
    assert ear.result(1).status == Status.ABORTED
    assert not ear.send(2)
    assert "going away" in ear.of(2)[0][2]


def test_any_interleaving_of_many_threads_ends_every_goal_once(ear) -> None:
    numbers, lock, taken = iter(range(1, 10_000)), threading.Lock(), []

    def client(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(12):
            with lock:
                n = next(numbers)
            if ear.send(n, max_steps=rng.choice([0, 1, 50]), task=rng.choice(["", "burst", "fail", "stay"])):
                taken.append(n)
            if rng.random() < 0.5:
                ear.executive.cancel(n.to_bytes(16, "big") if rng.random() < 0.7 else bytes(16), 0)
            time.sleep(rng.random() * 0.01)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for n in taken:
        assert isinstance(ear.result(n), ResultNotice)
    for n in taken:
        notices = ear.of(n)  # once all have ended: a goal may still run when its client is done
        assert sum(isinstance(t, ResultNotice) for t in notices) == 1
        assert isinstance(notices[0], tuple)  # the answer first
        assert isinstance(notices[-1], ResultNotice)  # nothing after the result
    assert len(taken) == 96
    assert all(s.terminal for _, _, s in ear.executive.statuses())


def test_a_log_is_not_filled_by_others(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(logging.getLogger("x"))
    for n in range(1000):
        complaints.say("/a", str(n))
    complaints.say("/b", "once")
    assert [r.getMessage() for r in caplog.records] == ["/a: 0", "/b: once"]
    complaints._said["/a"] = (0.0, complaints._said["/a"][1])
    complaints.say("/a", "again")
    assert caplog.records[-1].getMessage() == "/a: again (and 999 more like it)"


# --- topics ----------------------------------------------------------------------------------------------------------------------


def test_the_newest_counts_and_waiters_are_woken_by_their_topics_alone() -> None:
    board = Board()
    for name in ("/a", "/b"):
        board.declare(name, "std_msgs/msg/Bool")
    asked, found = [], []

    def ready():
        asked.append(1)
        newest = board.newest("/a")
        return newest if newest is not None and newest.message["data"] else None

    thread = threading.Thread(target=lambda: found.append(board.wait(["/a"], ready, 10, lambda: False)))
    thread.start()
    until(lambda: asked)
    for _ in range(50):
        board.put("/b", {"data": True})
    assert len(asked) == 1
    board.put("/a", {"data": False})
    board.put("/a", {"data": True})
    thread.join(5)
    assert (found[0].number, found[0].message) == (2, {"data": True})
    begin = time.monotonic()
    assert board.wait(["/a"], lambda: None, 0.1, lambda: False) is None
    assert 0.05 < time.monotonic() - begin < 2
    assert board.wait(["/a"], lambda: 1, 10, lambda: True) is None


def test_names_and_types_of_topics_are_kept() -> None:
    board = Board()
    board.declare("/a", "std_msgs/msg/Bool")
    board.declare("/a", "std_msgs/msg/Bool")
    with pytest.raises(InputError, match="has type std_msgs/msg/Bool"):
        board.declare("/a", "std_msgs/msg/String")
    for bad in ("a", "/a b", "/é", "/" + "x" * 300, "/a*"):
        with pytest.raises(InputError, match="a name is"):
            board.declare(bad, "std_msgs/msg/Bool")
    with pytest.raises(UnknownNameError, match="/b"):
        board.put("/b", {})
    for n in range(MOST_TOPICS - 1):
        board.declare(f"/t{n}", "std_msgs/msg/Bool")
    with pytest.raises(InputError, match=f"{MOST_TOPICS} topics already"):
        board.declare("/more", "std_msgs/msg/Bool")
