"""Chunks that overlap, against a plain account of who said what and when; delays, budgets."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from edge.core.errors import InputError
from robotics.action.budget import Budget, Choice, measure
from robotics.action.chunks import OLD_SHARE, Chunks, Landing
from robotics.action.latency import Latency


def chunk(number: int, n: int = 7) -> torch.Tensor:
    """Actions that say where they are from: [chunk, place]."""
    return torch.tensor([[float(number), float(i)] for i in range(n)])


@pytest.mark.parametrize("merge", ["newest", "inpaint", "guided"])
def test_every_action_is_of_the_newest_chunk_at_the_place_of_its_step(merge) -> None:
    rng = random.Random(0)
    for _ in range(200):
        chunks, asked_at, number, late = Chunks(merge, execute=4), {}, 0, 0
        newest = None  # number of the newest chunk that has come
        for _ in range(60):
            if chunks.awaited and late <= 0:
                landing = chunks.landed(chunk(number))
                assert landing.skipped == chunks.at - asked_at[number]
                assert landing.steps >= landing.skipped
                newest = number if landing.skipped < 7 else newest
            if (ask := chunks.due(rng.choice([0, 2, 5]))) is not None:
                number += 1
                asked_at[number], late = chunks.at, rng.randrange(1, 12)
                assert (ask.at, len(ask.left)) == (chunks.at, chunks.left)
            before = chunks.at
            action = chunks.next()
            late -= 1
            if action is None:
                assert chunks.at == before  # a step without an action moves nothing on
                assert newest is None or before - asked_at[newest] >= 7
            else:
                assert action.tolist() == [newest, before - asked_at[newest]]
                assert chunks.at == before + 1


def test_blocking_takes_chunks_as_the_library_does() -> None:
    chunks = Chunks("blocking", execute=4)
    for number in range(3):
        assert chunks.due(5) is not None
        assert chunks.due() is None  # one at a time
        assert chunks.next() is None  # it waits
        assert chunks.next() is None
        assert chunks.landed(chunk(number)) == Landing(skipped=0, steps=2)
        assert [chunks.next().tolist() for _ in range(4)] == [[number, i] for i in range(4)]  # type: ignore[union-attr]


def test_the_average_is_of_what_both_say() -> None:
    chunks = Chunks("average", execute=2)
    chunks.due()
    chunks.landed(chunk(1, 4))
    chunks.next()
    chunks.next()
    assert chunks.due() is not None  # two are executed, two are left
    chunks.next()
    chunks.landed(chunk(2, 4))  # one was executed meanwhile
    assert torch.allclose(chunks.next(), torch.tensor([2 - OLD_SHARE, 1 + 2 * OLD_SHARE]))  # type: ignore[arg-type]
    assert chunks.next().tolist() == [2, 2]  # type: ignore[union-attr]


def test_a_late_chunk_is_asked_for_sooner_and_a_stale_one_is_dropped() -> None:
    chunks = Chunks("newest", execute=4)
    chunks.due()
    chunks.landed(chunk(1))
    chunks.next()
    assert chunks.due(delay=5) is None
    chunks.next()
    assert chunks.due(delay=5) is not None  # five are left, five steps it takes
    for _ in range(5):
        chunks.next()
    assert chunks.next() is None
    chunks.landed(chunk(2)[:5])  # five were executed since: nothing is left of it
    assert chunks.stale == 1
    assert chunks.next() is None
    assert chunks.due() is not None
    chunks.lost()
    assert chunks.due() is not None


def test_a_robot_that_holds_skips_nothing() -> None:
    """Skipping by measured time would jump here: 21 of 30 actions at the first chunk of a server that warms up."""
    chunks = Chunks("newest", execute=4)
    chunks.due()
    for _ in range(21):
        assert chunks.next() is None
    assert chunks.landed(chunk(1)) == Landing(skipped=0, steps=21)
    assert chunks.next().tolist() == [1, 0]  # type: ignore[union-attr]


def test_what_the_first_chunks_take_is_in_no_estimate() -> None:
    seen = Latency(window=4, warm_up=2)
    assert seen.quantile(0.95, otherwise=3) == 3
    for ms in (10_000, 900, 20, 20, 20, 20):
        seen.note(ms)
    assert seen.quantile(0.95) == 20
    assert len(seen) == 4
    for ms in (30, 30, 30, 30):
        seen.note(ms)
    assert seen.quantile(0.05) == 30  # a window


def table(*ms: float) -> Budget:
    return Budget(machine="m", choices=tuple(Choice(sampler=f"flow:{n}", p50_ms=x / 2, p95_ms=x) for n, x in enumerate(ms, 1)))


def test_the_best_that_fits_is_taken_and_the_fastest_where_none_does() -> None:
    budget = table(12, 6, 9, 3)
    assert [budget.by(ms) for ms in (None, 100, 12, 11, 6, 5, 3, 2, 0)] == [0, 0, 0, 1, 1, 3, 3, 3, 3]


def test_budgets_are_measured_in_turn_and_kept(tmp_path: Path) -> None:
    order: list[str] = []
    rows = [("flow:4", "none", lambda: order.append("a")), ("flow:1", "zeus:2", lambda: order.append("b"))]
    found = measure("cpu", rows, rounds=5)
    assert order == ["a", "b"] * 8
    assert [c.name for c in found.choices] == ["flow:4", "flow:1+zeus:2"]
    file = tmp_path / "budget.json"
    file.write_text(found.model_dump_json())
    assert Budget.load(file) == found
    for text in ("{}", "x", json.dumps({"machine": "m", "choices": []})):
        file.write_text(text)
        with pytest.raises(InputError, match="edge act budget"):
            Budget.load(file)
    with pytest.raises(InputError, match="cannot be read"):
        Budget.load(tmp_path / "none.json")
