"""What a request asks for, what is refused, and which checkpoints are served."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

from edge.core.blockspec import BlockSpec
from edge.core.errors import CheckpointError, EdgeError, InputError, UnsupportedError
from serving.sglang_plugin import guard
from serving.sglang_plugin.checkpoint import Checkpoint, Serving, require_served
from serving.sglang_plugin.request import ALL, accept, join, refusal, remember
from tests.serving.requests import BOUNDED, UNBOUNDED

NANO = "edge/zoo/nano-planner"
_FLAG = {"type": "boolean"}
_PAIR = {
    "type": "object",
    "properties": {"a": _FLAG, "qz" * 150: _FLAG},
    "required": ["a", "qz" * 150],
    "additionalProperties": False,
}
WIDE = {"type": "object", "properties": {"o": _PAIR}, "required": ["o"], "additionalProperties": False}
"""One block of two open rows with hundreds of literal ones between them."""


@pytest.fixture(scope="module")
def nano() -> Checkpoint:
    return Checkpoint.load(NANO, "EdgeSelfSpec", Serving())


def request(**given: Any) -> SimpleNamespace:
    """As SGLang's `Req`: a temperature of 0 arrives as top_k 1."""
    plain = {
        "temperature": 1.0, "top_k": 1, "top_p": 1.0, "min_p": 0.0, "sampling_seed": None, "max_new_tokens": 60, "n": 1,
        "ignore_eos": False, "json_schema": None, "custom_params": None, "frequency_penalty": 0.0, "repetition_penalty": 1.0,
    }  # fmt: skip
    on_request = {k: given.pop(k) for k in ("return_logprob", "custom_logit_processor") if k in given}
    return SimpleNamespace(origin_input_ids=[1, 2, 3], sampling_params=SimpleNamespace(**plain | given), **on_request)


@pytest.mark.parametrize(
    "given",
    [
        {"frequency_penalty": 0.1},
        {"repetition_penalty": 1.05},
        {"min_p": 0.2},
        {"logit_bias": {"3": 1.0}},
        {"regex": "a"},
        {"ebnf": "x"},
        {"top_k": 40},
        {"min_new_tokens": 2},
        {"return_logprob": True},
        {"custom_logit_processor": "x"},
        {"beam_width": 3},
    ],
)
def test_what_no_decoder_here_honours_is_refused_by_name(given: dict[str, Any]) -> None:
    why = refusal(request(**given))
    assert why is not None
    assert next(iter(given)) in why


def test_what_says_nothing_is_not_refused() -> None:
    assert refusal(request(logit_bias={}, regex=None, beam_width=1, top_k=ALL)) is None


@pytest.mark.parametrize("schema", [*BOUNDED, *UNBOUNDED])
def test_a_schema_opens_the_answer(nano: Checkpoint, schema: dict[str, Any]) -> None:
    lineage = accept(request(json_schema=json.dumps(schema)), nano, room=200)
    assert lineage.context >= 3
    assert not lineage.finished


@pytest.mark.parametrize(
    ("given", "room", "says"),
    [
        ({"json_schema": json.dumps(BOUNDED[1]), "max_new_tokens": 5}, 500, "max_new_tokens"),
        ({"json_schema": json.dumps(BOUNDED[1])}, 5, "max_new_tokens"),
        ({"json_schema": json.dumps(UNBOUNDED[0]), "max_new_tokens": 2}, 500, "max_new_tokens"),
        ({"json_schema": json.dumps(WIDE)}, 900, "at once"),
        ({"json_schema": '{"not": {}}'}, 500, "not"),
        ({"json_schema": "{"}, 500, "Expecting"),
        ({"custom_params": {"edge": {"fork": 1}}}, 500, "fork"),
        ({"custom_params": {"edge": {"fork_at": "why"}}}, 500, "schema"),
        ({"custom_params": {"edge": {"fork_at": "nowhere"}}, "json_schema": json.dumps(BOUNDED[1])}, 500, "nowhere"),
        ({"custom_params": {"edge": {"fork_at": "x"}}, "json_schema": json.dumps(UNBOUNDED[0])}, 500, "bounded"),
    ],
)
def test_a_wish_that_cannot_be_fulfilled_says_why(nano: Checkpoint, given: dict[str, Any], room: int, says: str) -> None:
    if "max_new_tokens" not in given:
        given["max_new_tokens"] = 800
    with pytest.raises((EdgeError, ValueError), match=re.escape(says)):
        accept(request(**given), nano, room)


def test_log_probabilities_are_those_of_causal_decoding(nano: Checkpoint) -> None:
    asked = {"json_schema": json.dumps(BOUNDED[1]), "custom_params": {"edge": {"logprobs": True}}}
    assert accept(request(**asked), nano, room=500).logprobs() == []
    assert accept(request(json_schema=asked["json_schema"]), nano, room=500).logprobs() is None
    with pytest.raises(UnsupportedError, match="decides by others"):
        accept(request(**asked), Checkpoint.load(NANO, "EdgeThreshold", Serving()), room=500)


def test_a_fork_goes_on_from_what_is_shared(nano: Checkpoint) -> None:
    section = nano.constraint(json.dumps(BOUNDED[1])).sections[-1]  # type: ignore[union-attr]
    asked = {"json_schema": json.dumps(BOUNDED[1]), "custom_params": {"edge": {"fork_at": section.name}}, "n": 4}
    shared = accept(request(**asked, max_new_tokens=0), nano, room=500)
    assert len(shared.canvas) == 3 + section.start
    shared.canvas.decided[:] = True
    remember(request(**asked, max_new_tokens=0), nano, shared)
    lineage = accept(request(**asked), nano, room=500)
    assert lineage.context < 3 + section.start
    join(request(**asked), nano, lineage)
    assert lineage.context >= 3 + section.start
    another = accept(request(**asked), nano, room=500)
    seen = request(**asked)
    seen.origin_input_ids = [7, *seen.origin_input_ids[1:]]  # the same text before another image
    join(seen, nano, another)
    assert another.context < 3 + section.start


def spec(**given: Any) -> BlockSpec:
    return BlockSpec(**{"block_size": 8, "mask_token_id": 5} | given)


@pytest.mark.parametrize(
    ("form", "algorithm", "says"),
    [
        (spec(prompt="full", commit="none", causal_mode=False), "EdgeThreshold", "embedded engine"),
        (spec(commit="none", causal_mode=False), "EdgeThreshold", "embedded engine"),
        (spec(causal_mode=False), "EdgeSelfSpec", "EdgeThreshold"),
        (spec(prompt="block", commit="block", grid_origin="absolute"), "EdgeSelfSpec", "EdgeBlockCausal"),
        (spec(), "EdgeBlockCausal", "EdgeSelfSpec"),
    ],
)
def test_a_checkpoint_that_is_not_served_says_what_serves_it(form: BlockSpec, algorithm: str, says: str) -> None:
    with pytest.raises(UnsupportedError, match=re.escape(says)):
        require_served(form, algorithm, "model")


def test_an_unconverted_folder_is_refused(tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 5}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="edge convert"):
        Checkpoint.load(tmp_path, "EdgeSelfSpec", Serving())
    with pytest.raises(InputError, match=r"config\.json"):
        Checkpoint.load(tmp_path / "none", "EdgeSelfSpec", Serving())


def test_a_window_holds_a_block() -> None:
    assert Serving().window(spec()) == 64
    assert Serving(block_size=40).window(spec()) == 160
    with pytest.raises(InputError, match="rows"):
        Serving(rows=8).window(spec())


def target(a: int, b: int) -> None: ...


def test_the_guard_names_what_changed() -> None:
    here = f"{__name__}.target"
    guard.require({here: ("a", "b")})
    with pytest.raises(UnsupportedError, match=r"takes \(a, b\), not \(a\)"):
        guard.require({here: ("a",)})
    with pytest.raises(UnsupportedError, match="does not exist"):
        guard.require({"json.no_such_thing": ()})
    guard.require_version("0.5.23.post1")
    with pytest.raises(UnsupportedError, match=r"install sglang==0\.5\.23"):
        guard.require_version("0.5.24")
