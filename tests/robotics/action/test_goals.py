"""Goals against a plain model of ROS 2's rules, over interleavings of requests, cancels, endings, timeouts and lost clients."""

from __future__ import annotations

import os
from itertools import pairwise, product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from robotics.action.goals import (
    NO_ID,
    TRANSITIONS,
    CancelCode,
    Event,
    FeedbackNotice,
    GoalError,
    GoalServer,
    ResultNotice,
    Status,
    StatusNotice,
)

TIMEOUT = 50
IDS = [bytes([n]) * 16 for n in range(1, 7)]
FULL = os.environ.get("EDGE_CASES") != "small"
ids = st.sampled_from(IDS)


class Goals(RuleBasedStateMachine):
    """The model: statuses by id, stamps, ends, who waits; written as the table of the documentation has it."""

    @initialize()
    def begin(self) -> None:
        self.server = GoalServer(
            accepts=lambda asked: asked != "bad", cancels=lambda g: g.asked != "keep", result_timeout_ns=TIMEOUT, most=5
        )
        self.now = 1
        self.status: dict[bytes, Status] = {}
        self.stamp: dict[bytes, int] = {}
        self.asked: dict[bytes, str] = {}
        self.ended: dict[bytes, int] = {}
        self.waiting: dict[bytes, list[tuple[str, int]]] = {}
        self.owed: list[tuple[tuple[str, int], Status]] = []
        self.requests = 0
        self.fed: list[tuple[bytes, int]] = []

    @rule(goal=ids, asked=st.sampled_from(["fine", "keep", "bad"]))
    def send(self, goal: bytes, asked: str) -> None:
        taken = self.server.send(goal, asked, self.now)
        wanted = goal not in self.status and asked != "bad" and len(self.status) < 5
        assert (taken is not None) == wanted
        if wanted:
            self.status[goal], self.stamp[goal], self.asked[goal] = Status.ACCEPTED, self.now, asked
            self.waiting[goal] = []

    @rule(goal=st.one_of(ids, st.just(NO_ID)), stamp=st.one_of(st.just(0), st.integers(1, 200)))
    def cancel(self, goal: bytes, stamp: int) -> None:
        answer = self.server.cancel(goal, stamp)
        live = (Status.ACCEPTED, Status.EXECUTING)
        if goal != NO_ID and stamp == 0:
            if goal not in self.status:
                assert answer.code == CancelCode.UNKNOWN_GOAL_ID
                return
            if self.status[goal] not in live:
                assert answer.code == CancelCode.GOAL_TERMINATED
                return
        everyone = goal == NO_ID and stamp == 0
        chosen = [g for g, s in self.status.items() if s in live and (everyone or g == goal or (stamp and self.stamp[g] <= stamp))]
        taken = [g for g in chosen if self.asked[g] != "keep"]
        assert answer.goals == tuple((g, self.stamp[g]) for g in taken)
        assert answer.code == (CancelCode.REJECTED if chosen and not taken else CancelCode.NONE)
        for g in taken:
            self.status[g] = Status.CANCELING

    @rule(goal=ids, what=st.sampled_from(["execute", "succeed", "abort", "canceled"]))
    def happen(self, goal: bytes, what: str) -> None:
        allowed = {
            "execute": ({Status.ACCEPTED}, Status.EXECUTING),
            "succeed": ({Status.EXECUTING, Status.CANCELING}, Status.SUCCEEDED),
            "abort": ({Status.EXECUTING, Status.CANCELING}, Status.ABORTED),
            "canceled": ({Status.CANCELING}, Status.CANCELED),
        }
        before, after = allowed[what]
        args = (goal,) if what == "execute" else (goal, what, self.now)
        if self.status.get(goal) not in before:
            with pytest.raises(GoalError, match=goal.hex()):
                getattr(self.server, what)(*args)
            return
        getattr(self.server, what)(*args)
        self.status[goal] = after
        if after.terminal:
            self.ended[goal] = self.now
            self.owed += [(r, after) for r in self.waiting[goal]]
            self.waiting[goal] = []

    @rule(goal=ids, client=st.sampled_from("ab"))
    def wait(self, goal: bytes, client: str) -> None:
        self.requests += 1
        request = (client, self.requests)
        self.server.ask_result(goal, request)
        status = self.status.get(goal, Status.UNKNOWN)
        if goal not in self.status or status.terminal:
            self.owed.append((request, status))
        else:
            self.waiting[goal].append(request)

    @rule(client=st.sampled_from("ab"))
    def leave(self, client: str) -> None:
        self.server.lost(lambda request: request[0] == client)
        self.waiting = {g: [r for r in rs if r[0] != client] for g, rs in self.waiting.items()}

    @rule(goal=ids)
    def feed(self, goal: bytes) -> None:
        if self.status.get(goal) in (Status.EXECUTING, Status.CANCELING):
            self.server.feedback(goal, self.now)
            self.fed.append((goal, self.now))
        else:
            with pytest.raises(GoalError, match=r"feedback|not known"):
                self.server.feedback(goal, self.now)

    @rule(later=st.integers(1, 40))
    def pass_time(self, later: int) -> None:
        self.now += later
        old = [g for g in self.status if g in self.ended and self.now - self.ended[g] >= TIMEOUT]
        assert self.server.expire(self.now) == old
        for g in old:
            for known in (self.status, self.stamp, self.asked, self.ended, self.waiting):
                known.pop(g)

    @rule()
    def listen(self) -> None:
        """What is told is what is owed, in order, and nothing else."""
        notices = self.server.notices()
        told = [(n.request, n.status) for n in notices if isinstance(n, ResultNotice)]
        assert told == self.owed
        assert all(isinstance(n.request[0], str) for n in notices if isinstance(n, ResultNotice))
        assert [(n.id, n.value) for n in notices if isinstance(n, FeedbackNotice)] == self.fed
        assert not any(a == b == StatusNotice() for a, b in pairwise(notices))
        self.owed, self.fed = [], []
        assert self.server.notices() == []

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "server"):
            assert self.server.statuses() == [(g, self.stamp[g], s) for g, s in self.status.items()]


Goals.TestCase.settings = settings(max_examples=1000 if FULL else 60, stateful_step_count=60, deadline=None)
TestGoals = Goals.TestCase


def test_there_are_eight_transitions_and_no_more() -> None:
    """Every other pair of status and event is refused, and changes nothing."""
    assert len(TRANSITIONS) == 8
    ways = {
        Status.ACCEPTED: [],
        Status.EXECUTING: ["execute"],
        Status.CANCELING: ["cancel"],
        Status.SUCCEEDED: ["execute", "succeed"],
        Status.ABORTED: ["execute", "abort"],
        Status.CANCELED: ["cancel", "canceled"],
    }
    for status, event in product(ways, Event):
        server = GoalServer()
        server.send(IDS[0], None, 1)
        for step in ways[status]:
            args = {"cancel": (0,), "execute": ()}.get(step, (None, 2))
            getattr(server, step)(IDS[0], *args)
        assert server.goals[IDS[0]].status == status
        call = {
            Event.EXECUTE: lambda s: s.execute(IDS[0]),
            Event.SUCCEED: lambda s: s.succeed(IDS[0], None, 3),
            Event.ABORT: lambda s: s.abort(IDS[0], None, 3),
            Event.CANCELED: lambda s: s.canceled(IDS[0], None, 3),
        }.get(event)
        if call is None:
            assert bool(server.cancel(IDS[0], 0).goals) == ((status, event) in TRANSITIONS)
        elif (status, event) in TRANSITIONS:
            call(server)
            assert server.goals[IDS[0]].status == TRANSITIONS[status, event]
        else:
            with pytest.raises(GoalError, match=f"{event.name} while {status.name}"):
                call(server)
            assert server.goals[IDS[0]].status == status


def test_a_result_comes_once_the_goal_has_ended() -> None:
    server = GoalServer()
    server.send(IDS[0], "far", 5)
    server.ask_result(IDS[0], "first")
    server.execute(IDS[0])
    server.feedback(IDS[0], 0.5)
    assert server.notices() == [StatusNotice(), FeedbackNotice(IDS[0], 0.5)]
    server.succeed(IDS[0], "there", 6)
    server.ask_result(IDS[0], "second")
    assert server.notices() == [
        StatusNotice(),
        ResultNotice("first", IDS[0], Status.SUCCEEDED, "there"),
        ResultNotice("second", IDS[0], Status.SUCCEEDED, "there"),
    ]


def test_ids_that_are_none() -> None:
    server = GoalServer()
    for call in (lambda: server.send(b"1", None, 0), lambda: server.cancel(b"", 0), lambda: server.ask_result(b"x" * 17, 1)):
        with pytest.raises(GoalError, match="16 bytes"):
            call()
    assert server.send(NO_ID, None, 1) is None
