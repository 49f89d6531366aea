"""Deadlines, faults and order of requests, with real threads and processes, and with the shipped planner."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edge.cli.zoo import NANO_PLANNER
from edge.core.errors import InputError
from robotics.driving.planner import Planner
from robotics.driving.prompt import EgoHistory
from robotics.driving.safety.profile import VehicleProfile
from robotics.driving.service import faults
from robotics.driving.service.misses import Misses
from robotics.driving.service.process import ProcessBackend
from robotics.driving.service.proposing import of_planner
from robotics.driving.service.request import Box, EgoState, PlanRequest
from robotics.driving.service.response import PlanResponse
from robotics.driving.service.service import PlannerService
from robotics.driving.service.thread import ThreadBackend
from tests.robotics.driving.safety.slow import broken

POINTS = [{"x_m": 4.0 * (n - 4), "y_m": 0.0, "v_mps": 8.0} for n in range(5)]
HISTORY = EgoHistory.read({"points": POINTS})
PICTURES = tuple(np.full((112, 112, 3), n, dtype=np.uint8) for n in (40, 90, 140))
BY_MS = 400.0
"""How late an answer of these tests may be on a busy machine. Punctuality is measured by `edge bench deadline`."""


def ask(**fields: Any) -> PlanRequest:
    return PlanRequest(**{"images": PICTURES, "history": HISTORY, "nav_command": "GO_STRAIGHT", **fields})


def in_thread(kind: str, **options: Any) -> PlannerService:
    return PlannerService(ThreadBackend(faults.faulty(kind)), **options)


@pytest.fixture
def in_process() -> Iterator[Callable[..., tuple[PlannerService, ProcessBackend]]]:
    made: list[ProcessBackend] = []

    def make(kind: str, once: str | None = None, grace_s: float = 0.2) -> tuple[PlannerService, ProcessBackend]:
        made.append(ProcessBackend({"kind": kind, "once": once}, faults.FACTORY, grace_s=grace_s))
        assert made[-1].wait(60)
        return PlannerService(made[-1], misses=Misses(99, 99)), made[-1]

    yield make
    for backend in made:
        backend.close()


def sound(response: PlanResponse) -> PlanResponse:
    """Whatever the status: valid and drivable."""
    assert PlanResponse.model_validate_json(response.model_dump_json(by_alias=True)) == response
    assert broken(response.model_dump()["trajectory"]["points"]) == []
    return response


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("on_a_loop", [False, True])
@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("steady", "OK", None),
        ("slow", "OK", None),
        ("sleeps", "FALLBACK", "DEADLINE_MISSED"),
        ("raises", "FALLBACK", "PLANNER_FAILED"),
        ("garbage", "FALLBACK", "BAD_SCHEMA"),
        ("nonsense", "FALLBACK", "IMPLAUSIBLE"),
    ],
)
def test_every_fault_of_a_thread_is_answered_in_time(kind: str, status: str, reason: str | None, on_a_loop: bool) -> None:
    service, request = in_thread(kind), ask(deadline_ms=300.0, request_id="a", sensor_stamp_ns=time.time_ns())
    out = sound(asyncio.run(service.answer(request)) if on_a_loop else service.plan(request))
    assert (out.status, out.reason_codes) == (status, () if reason is None else (reason,))
    assert out.request_id == "a"
    assert out.timing.total_ms < 300 + BY_MS


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("sleeps", "DEADLINE_MISSED"),
        ("hangs", "DEADLINE_MISSED"),
        ("holds", "DEADLINE_MISSED"),
        ("dies", "PLANNER_DOWN"),
        ("raises", "PLANNER_FAILED"),
        ("garbage", "BAD_SCHEMA"),
    ],
)
def test_every_fault_of_a_process_is_answered_in_time_and_got_over(in_process: Any, tmp_path: Any, kind: str, reason: str) -> None:
    """A planner that fails once: killed if it hangs, started again if it died, and back with a sound plan."""
    service, backend = in_process(kind, once=str(tmp_path / "failed"))
    out = sound(service.plan(ask(deadline_ms=300.0)))
    assert (out.status, out.reason_codes) == ("FALLBACK", (reason,))
    assert out.timing.total_ms < 300 + BY_MS
    wait_for(lambda: service.plan(ask(deadline_ms=2000.0)).status == "OK")
    assert backend.starts == (1 if kind in ("raises", "garbage") else 2)


def test_what_is_the_fault_of_the_request_is_refused(in_process: Any) -> None:
    with pytest.raises(InputError, match="on purpose"):
        in_thread("refuses").plan(ask(deadline_ms=1000.0))
    with pytest.raises(InputError, match="on purpose"):
        in_process("refuses")[0].plan(ask(deadline_ms=5000.0))


def test_a_planner_that_cannot_start_is_down_and_says_why() -> None:
    backend = ProcessBackend({"path": "/nowhere"})
    try:
        wait_for(lambda: backend.error is not None, 60)
        assert "nowhere" in str(backend.error)
        out = sound(PlannerService(backend).plan(ask(deadline_ms=1000.0)))
        assert (out.status, out.reason_codes) == ("FALLBACK", ("PLANNER_DOWN",))
        assert out.timing.total_ms < BY_MS
    finally:
        backend.close()


def test_a_deadline_that_has_passed_is_answered_at_once() -> None:
    out = sound(in_thread("slow").plan(ask(deadline_ms=0.0)))
    assert (out.status, out.reason_codes) == ("FALLBACK", ("DEADLINE_MISSED",))


def together(service: PlannerService, *requests: PlanRequest) -> list[PlanResponse]:
    """Answers to requests that come one shortly after the other, each while the ones before are on their way."""
    out: dict[int, PlanResponse] = {}
    threads = [threading.Thread(target=lambda n=n, r=r: out.update({n: service.plan(r)})) for n, r in enumerate(requests)]
    for t in threads:
        t.start()
        time.sleep(0.01)
    for t in threads:
        t.join()
    return [sound(out[n]) for n in range(len(requests))]


def test_the_newest_waits_and_older_ones_are_superseded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "SLOW_S", 0.5)
    found = together(in_thread("slow"), *(ask(request_id=str(n)) for n in range(4)))
    assert [(r.status, r.reason_codes) for r in found] == [
        ("OK", ()),
        ("FALLBACK", ("SUPERSEDED",)),
        ("FALLBACK", ("SUPERSEDED",)),
        ("OK", ()),
    ]
    assert found[3].timing.queue_ms > 200


def test_newest_is_what_was_sensed_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "SLOW_S", 0.3)
    now = time.time_ns()
    found = together(in_thread("slow"), *(ask(sensor_stamp_ns=now + n) for n in (0, 20, 10)))
    assert [r.reason_codes for r in found] == [(), (), ("SUPERSEDED",)]
    older = together(in_thread("slow"), ask(sensor_stamp_ns=now), ask(sensor_stamp_ns=now - 10_000_000))
    assert [r.reason_codes for r in older] == [(), ("SUPERSEDED",)]


def test_who_waits_too_long_is_answered_by_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "SLOW_S", 1.0)
    found = together(in_thread("slow"), ask(), ask(deadline_ms=200.0))
    assert [r.reason_codes for r in found] == [(), ("DEADLINE_MISSED",)]
    assert found[1].timing.total_ms < 200 + BY_MS


def test_a_late_plan_is_dropped_and_the_planner_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    service = in_thread("slow")
    monkeypatch.setattr(faults, "SLOW_S", 30.0)
    assert service.plan(ask(deadline_ms=50.0)).reason_codes == ("DEADLINE_MISSED",)
    monkeypatch.setattr(faults, "SLOW_S", 0.0)
    assert service.plan(ask(deadline_ms=1000.0)).status == "OK"  # 30 s were not waited for


def test_a_thread_that_hangs_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robotics.driving.service.thread.GRACE_S", 0.05)
    service = in_thread("sleeps", misses=Misses(99, 99))
    assert service.plan(ask(deadline_ms=50.0)).reason_codes == ("DEADLINE_MISSED",)
    time.sleep(0.1)
    out = service.plan(ask(deadline_ms=5000.0))
    assert out.reason_codes == ("PLANNER_DOWN",)
    assert out.timing.total_ms < BY_MS


def test_after_m_of_k_misses_the_planner_is_not_waited_for_until_it_is_reliable_again(monkeypatch: pytest.MonkeyPatch) -> None:
    service = in_thread("slow")
    monkeypatch.setattr(faults, "SLOW_S", 0.3)
    assert [service.plan(ask(deadline_ms=50.0)).reason_codes for _ in range(3)] == [("DEADLINE_MISSED",)] * 3
    wait_for(lambda: service.misses.unreliable)
    out = sound(service.plan(ask(deadline_ms=5000.0)))
    assert (out.status, out.reason_codes) == ("FALLBACK", ("PLANNER_UNRELIABLE",))
    assert out.timing.total_ms < BY_MS
    monkeypatch.setattr(faults, "SLOW_S", 0.0)
    tries = []
    wait_for(lambda: tries.append(service.plan(ask(deadline_ms=1000.0)).status) or tries[-1] == "OK")
    assert tries.count("FALLBACK") >= 2


def test_old_input_and_input_from_the_future_are_not_planned_on() -> None:
    service, now = in_thread("steady"), time.time_ns()
    for stamp in (now - 3_000_000_000, now + 3_000_000_000, 0):
        out = sound(service.plan(ask(sensor_stamp_ns=stamp)))
        assert (out.status, out.reason_codes) == ("FALLBACK", ("STALE_INPUT",))
        assert out.sensor_stamp_ns == stamp
    replay = VehicleProfile(input_age_ms=None)
    assert service.plan(ask(sensor_stamp_ns=7, vehicle_profile=replay)).status == "OK"


def test_a_plan_that_gets_too_old_on_the_way_is_not_driven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "SLOW_S", 0.3)
    young = VehicleProfile(input_age_ms=200.0)
    out = in_thread("slow").plan(ask(sensor_stamp_ns=time.time_ns(), vehicle_profile=young))
    assert (out.status, out.reason_codes) == ("FALLBACK", ("STALE_INPUT",))


def test_the_last_plan_is_driven_on_after_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    service, now = in_thread("slow"), time.time_ns()
    monkeypatch.setattr(faults, "SLOW_S", 0.0)
    first = service.plan(ask(sensor_stamp_ns=now - 400_000_000))
    assert first.status == "OK"
    monkeypatch.setattr(faults, "SLOW_S", 1.0)
    out = sound(service.plan(ask(sensor_stamp_ns=now, deadline_ms=50.0)))
    assert (out.status, out.source, out.reason_codes) == ("FALLBACK", "last_valid", ("DEADLINE_MISSED",))
    assert out.trajectory.points[-1].x == pytest.approx(40.0, abs=0.5)  # 8 m/s, re-anchored


def test_an_ego_that_cannot_be_is_rejected_at_once() -> None:
    service = in_thread("sleeps")
    for ego in (EgoState(v_mps=200.0), EgoState(v_mps=float("nan")), EgoState(v_mps=5.0, yaw_rate_radps=9.0)):
        out = sound(service.plan(ask(ego=ego)))
        assert (out.status, out.reason_codes, out.brake) == ("REJECTED", ("EGO_IMPLAUSIBLE",), "standing")


def test_boxes_are_stopped_for() -> None:
    out = sound(in_thread("steady").plan(ask(boxes=[Box(x_m=25.0, y_m=0.0)])))
    assert (out.status, out.reason_codes, out.brake) == ("FALLBACK", ("COLLISION",), "in_lane")
    assert any(c.name == "time_to_collision" and not c.ok and c.candidate == "model" for c in out.checks)


def test_the_shipped_planner_in_a_thread_and_in_a_process() -> None:
    """The same plan as without the service, whichever way; and an interrupted engine goes on with the next request."""
    planner = Planner.load(NANO_PLANNER, dtype="float32")
    wanted = planner.plan(list(PICTURES), HISTORY, "GO_STRAIGHT")
    backend = ProcessBackend({"path": str(NANO_PLANNER), "dtype": "float32", "threads": 1})
    try:
        assert backend.wait(120), backend.error
        for service in (PlannerService(ThreadBackend(of_planner(planner))), PlannerService(backend)):
            missed = sound(service.plan(ask(deadline_ms=12.0)))
            assert missed.reason_codes == ("DEADLINE_MISSED",)
            out = sound(service.plan(ask()))
            assert out.answer == wanted.generation.text
            assert out.sections["trajectory"] == wanted.as_json()["sections"]["trajectory"]
            assert [list(p) for p in out.raw_waypoints] == wanted.as_json()["raw_waypoints"]
            assert (out.strategy, out.lossless) == ("self-spec", True)
            several = sound(service.plan(ask(n_rollouts=3, seed=5)))
            assert len(several.spread) == 10
            assert len(several.spread_xy_m) == 5
            with pytest.raises(InputError, match="section"):
                service.plan(ask(sections=["trajectory", "weather"], deadline_ms=20_000.0))
    finally:
        backend.close()
