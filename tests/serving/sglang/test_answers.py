"""A stock SGLang server with the plug-in answers as the embedded engine does, token for token, in as many forwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from transformers import Qwen2_5_VLForConditionalGeneration

from tests.serving.reference import expected, generate, greedy_text
from tests.serving.requests import REQUESTS, Request
from tests.serving.sglang.ask import choices, forwards, told
from tests.serving.sglang.conftest import BLOCK, NANO

GREEDY = [r for r in REQUESTS if r.arguments["temperature"] == 0]


def wanted(engine: Any, request: Request) -> list[tuple[str, str]]:
    return [expected(engine, request, choice=i, block_size=BLOCK) for i in range(request.arguments.get("n", 1))]


def got(client: Any, request: Request) -> list[tuple[str, str]]:
    return [(c.text, c.finish) for c in choices(client, request)]


@pytest.mark.parametrize("number", range(len(REQUESTS)))
def test_the_answer_is_that_of_the_embedded_engine(client: Any, engine: Any, number: int) -> None:
    assert got(client, REQUESTS[number]) == wanted(engine, REQUESTS[number])


def test_all_at_once_are_answered_as_one_by_one(client: Any, engine: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda r: got(client, r), REQUESTS))
    assert answers == [wanted(engine, r) for r in REQUESTS]


def test_free_text_is_that_of_greedy_decoding_by_transformers(client: Any, engine: Any) -> None:
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(NANO, dtype="float32").eval()
    free = [r for r in GREEDY if r.schema is None]
    assert len(free) >= 40
    for r in free:
        assert got(client, r)[0] == greedy_text(model, engine, r), r


def test_forwards_are_those_of_the_embedded_engine(client: Any, engine: Any) -> None:
    plain = [r for r in REQUESTS if r.kind in ("text", "image", "schema")]
    here = [forwards(told(client, r.arguments)[0]) for r in plain]
    there = [generate(engine, r, block_size=BLOCK).forwards for r in plain]
    assert abs(sum(here) - sum(there)) <= 0.1 * sum(there), (here, there)
    assert here == there  # nothing is encoded twice, and nothing is padded
