"""JSON schemas on the embedded server, one after the other and many at once."""

from __future__ import annotations

import openai

from tests.serving.schemas import expect_valid


def test_every_answer_is_valid(client: openai.OpenAI) -> None:
    expect_valid(client, "nano")
