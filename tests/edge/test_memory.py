"""A thousand generations leave nothing behind, and neither does one that was abandoned half-way."""

from __future__ import annotations

import gc
import itertools
import os
from pathlib import Path

import pytest
import torch

import edge
from decoding.fork import together
from decoding.fused import fused
from decoding.loop import run
from decoding.rules import sampler
from decoding.self_speculative import self_speculative
from edge.core.types import Canvas
from edge.engine import Engine
from edge.models.session import Session
from tests.decoding.test_exactness import compiled
from tests.edge.test_engine import FORKED, NOTED, save

GENERATIONS = 1000 if os.environ.get("EDGE_CASES") != "small" else 120
REQUESTS = [
    {"strategy": "self-spec", "max_new_tokens": 30},
    {"strategy": "fused", "schema": NOTED, "branches": 2},
    {"strategy": "ar", "schema": NOTED, "deadline_ms": 5},
    {"strategy": "threshold", "max_new_tokens": 20},
    {"strategy": "fused", "schema": FORKED, "rollouts": 4, "temperature": 0.7, "fork_at": "trajectory"},
]


@pytest.fixture
def folder(tmp_path) -> Path:
    save(tmp_path, 3)
    return tmp_path


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_memory_does_not_grow(folder) -> None:
    engine = edge.load(folder)
    requests = [r | ({"schema": compiled(r["schema"])} if isinstance(r.get("schema"), type(NOTED)) else {}) for r in REQUESTS]

    def generate(n: int) -> None:
        for i, r in zip(range(n), itertools.cycle(requests), strict=False):
            engine.generate([1 + i % 5, 2, 3], seed=i, **r)

    def objects() -> tuple[int, int]:
        gc.collect()
        return len(gc.get_objects()), sum(type(o) is torch.Tensor for o in gc.get_objects())

    generate(GENERATIONS // 4)
    (before, tensors), resident = objects(), resident_bytes()
    generate(GENERATIONS)
    after, more = objects()
    assert more == tensors
    assert after - before < 100
    assert resident_bytes() - resident < 4 * 2**20


@pytest.mark.parametrize("strategy", ["ar", "self-spec", "fused", "threshold"])
@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_an_engine_that_was_interrupted_answers_as_a_fresh_one(folder, strategy, stop_at, monkeypatch) -> None:
    schema = compiled(NOTED)
    expected = edge.load(folder).generate([4, 5, 6], strategy=strategy, schema=schema)
    engine = edge.load(folder)
    forward, calls = Session.forward, itertools.count(1)

    def interrupted(self, call):
        if next(calls) > stop_at:
            raise KeyboardInterrupt
        return forward(self, call)

    with monkeypatch.context() as m:
        m.setattr(Session, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.generate([9, 8, 7, 6], strategy=strategy, schema=schema)
    again = engine.generate([4, 5, 6], strategy=strategy, schema=schema)
    assert (again.tokens, again.forwards, again.rows) == (expected.tokens, expected.forwards, expected.rows)


def answer(session: Session, engine: Engine, prompt: list[int]) -> list[int]:
    canvas = Canvas.open(torch.tensor(prompt), 20)
    session.reset(canvas.tokens[: len(prompt)], capacity=len(canvas))
    for _ in run(self_speculative(canvas, engine.spec), session):
        pass
    return canvas.answer().tolist()


@pytest.mark.parametrize("stop_at", range(1, 8))
def test_a_session_left_half_way_is_clean_again(folder, stop_at) -> None:
    """One lineage given up in the middle of a round, then forks given up in the middle of theirs."""
    engine = edge.load(folder, dtype="float64")
    expected = answer(Session(engine.backbone, [1], capacity=64), engine, [2, 3, 4])
    session = Session(engine.backbone, [7, 7], capacity=42, check=True)
    forwards = run(fused(Canvas.open(torch.tensor([7, 7]), 40), engine.spec, branches=2), session)
    for _ in itertools.islice(forwards, stop_at):
        pass
    forwards.close()
    assert answer(session, engine, [2, 3, 4]) == expected

    session.reset([7, 7], capacity=42, scratch=600)
    lineages = [fused(Canvas.open(torch.tensor([7, 7]), 40), engine.spec, pick=sampler(1.0, 1.0, seed)) for seed in range(3)]
    forwards = together(lineages, session)
    for _ in itertools.islice(forwards, stop_at):
        pass
    forwards.close()
    assert answer(session, engine, [2, 3, 4]) == expected
