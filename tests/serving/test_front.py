"""The door before SGLang: what it says, what it refuses. Real servers stand behind it in `tests/serving/sglang/test_front.py`."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from serving.front import said, told
from serving.wire.chat import ChatRequest, CompletionRequest
from serving.wire.errors import Refusal

ASK = [{"role": "user", "content": "x"}]


def test_requests_in_sglangs_words() -> None:
    request = ChatRequest.model_validate(
        {
            "messages": ASK,
            "max_completion_tokens": 5,
            "n": 2,
            "temperature": 0.5,
            "seed": 3,
            "stop": ["a"],
            "user": "me",
            "response_format": {"type": "json_schema", "json_schema": {"name": "y", "schema": {"type": "null"}}},
            "edge": {"fork_at": "b", "strategy": "self-spec"},
        }
    )
    assert said(request, "self-spec") == {
        "model": "edge",
        "messages": ASK,
        "max_tokens": 5,
        "n": 2,
        "temperature": 0.5,
        "top_p": 1.0,
        "seed": 3,
        "stop": ["a"],
        "stream": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "y", "schema": {"type": "null"}}},
        "custom_params": {"edge": {"fork_at": "b"}},
        "return_meta_info": True,
    }
    text = CompletionRequest.model_validate({"prompt": [1, 2], "stream": True, "stream_options": {"include_usage": True}})
    assert said(text, "threshold")["max_tokens"] == 16
    assert "return_meta_info" not in said(text, "threshold")


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"edge": {"strategy": "fused"}}, "edge.strategy"),
        ({"edge": {"deadline_ms": 5.0}}, "edge.deadline_ms"),
        ({"edge": {"sections": ["a"]}}, "edge.sections"),
        ({"edge": {"trace": True}}, "edge.trace"),
        ({"edge": {"options": {"block_size": 8}}}, "edge.options"),
        ({"edge": {"fork_at": "a"}}, "edge.fork_at"),
        ({"stream": True, "edge": {"stream": "canvas"}}, "edge.stream"),
    ],
)
def test_what_it_has_no_words_for_is_refused(more: dict[str, Any], param: str) -> None:
    with pytest.raises(Refusal) as e:
        said(ChatRequest.model_validate({"messages": ASK, **more}), "self-spec")
    assert e.value.body["error"]["param"] == param
    assert e.value.status == 400


def test_the_description_is_that_of_the_embedded_server() -> None:
    with pytest.raises(ValidationError, match="extra"):
        ChatRequest.model_validate({"messages": ASK, "tools": []})


def test_replies_in_our_words() -> None:
    choice = {"index": 0, "message": {"content": "x"}, "matched_stop": 1, "meta_info": {"edge_forwards": [1, 1, 4]}}
    reply = {
        "id": "1",
        "model": "edge",
        "choices": [choice, dict(choice)],
        "usage": {"prompt_tokens": 1, "x": None},
        "metadata": {},
    }
    assert told(reply, "nano", "self-spec", True) == {
        "id": "1",
        "model": "nano",
        "choices": [{"index": 0, "message": {"content": "x"}}] * 2,
        "usage": {"prompt_tokens": 1, "forwards": 8},
        "edge": {"strategy": "self-spec", "lossless": True, "forwards": 8},
    }
    assert "forwards" not in told({"choices": [{"text": "x"}]}, "nano", "self-spec", True)["usage"]


def test_log_probabilities_of_choices() -> None:
    choices = [{"text": "x", "meta_info": {"edge_logprobs": [-0.5, -1.0]}}, {"text": "y", "meta_info": {"edge_logprobs": [-0.25]}}]
    assert told({"choices": choices}, "nano", "self-spec", True)["edge"]["choice_logprobs"] == [-1.5, -0.25]
