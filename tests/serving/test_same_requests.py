"""The sixty requests that SGLang with the plug-in is asked (`tests/serving/sglang`), to the embedded server: the same answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

import edge
from edge.cli.zoo import NANO_PLANNER
from edge.engine import Engine
from tests.serving.reference import expected
from tests.serving.requests import REQUESTS, Request
from tests.serving.sglang.ask import choices


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Another engine than the server's."""
    return edge.load(NANO_PLANNER, dtype="float32")


def wanted(engine: Engine, request: Request) -> list[tuple[str, str]]:
    return [expected(engine, request, choice=i, block_size=32) for i in range(request.arguments.get("n", 1))]


def got(client: Any, request: Request) -> list[tuple[str, str]]:
    return [(c.text, c.finish) for c in choices(client, request, "nano")]


def test_there_are_sixty_of_every_kind() -> None:
    assert len(REQUESTS) == 60
    assert {r.kind for r in REQUESTS} == {"text", "image", "schema", "stop", "stream", "n", "seed"}


@pytest.mark.parametrize("number", range(len(REQUESTS)))
def test_one_by_one(client: openai.OpenAI, engine: Engine, number: int) -> None:
    assert got(client, REQUESTS[number]) == wanted(engine, REQUESTS[number])


def test_all_at_once(client: openai.OpenAI, engine: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda r: got(client, r), REQUESTS))
    assert answers == [wanted(engine, r) for r in REQUESTS]
