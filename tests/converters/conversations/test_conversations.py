"""Conversations of users to samples: forms, tokens, and an account of what could not be used."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from converters.conversations.account import REASONS, Account, Dropped
from converters.conversations.corpus import Conversations
from converters.conversations.encode import Encoded, Encoder, usable
from converters.conversations.records import Conversation, read
from converters.methods.fast_dvlm import FastDvlm
from converters.methods.views import total
from converters.viewed import look, losses, prepare
from edge.cli.main import run
from edge.cli.zoo import NANO_PLANNER
from edge.core.errors import InputError
from edge.engine import Engine
from edge.models.hf import TransformersModel
from edge.models.text import ChatTokenizer

LLAVA = {
    "id": "a",
    "image": "red.png",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A red square."},
        {"from": "human", "value": "Sure?"},
        {"from": "gpt", "value": "Yes."},
    ],
}
PARTS = {
    "messages": [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "red.png"}}, {"type": "text", "text": "What is it?"}],
        },
        {"role": "assistant", "content": "A red square."},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]},
    ]
}
SHARED = {
    "messages": [
        {"role": "user", "content": "<image>What is it?"},
        {"role": "assistant", "content": "A red square."},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes."},
    ],
    "images": ["red.png"],
}
PLAIN = {"messages": [{"role": "user", "content": "Two?"}, {"role": "assistant", "content": "2"}]}


@cache
def engine() -> Engine:
    torch.set_num_threads(1)
    return Engine.load(NANO_PLANNER, adapter="transformers", dtype="float32")


@cache
def encoder(longest: int = 200) -> Encoder:
    loaded = engine()
    assert isinstance(loaded.backbone, TransformersModel)
    assert isinstance(loaded.tokenizer, ChatTokenizer)
    return Encoder.of(loaded.backbone, loaded.tokenizer, longest)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (112, 112), (250, 10, 10)).save(tmp_path / "red.png")
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


def written(folder: Path, *records: Any) -> Path:
    file = folder / "talk.jsonl"
    file.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return file


def used(file: Path, allowed: float = 1.0, longest: int = 200) -> tuple[list[Encoded], Account]:
    account = Account(str(file), allowed)
    return [e for e in usable(Conversations(file), encoder(longest), account) if e is not None], account


# --- forms and tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [LLAVA, SHARED, PARTS], ids=["llava", "sharegpt", "parts"])
def test_every_form_gives_the_sample_that_is_written_by_hand(folder: Path, record: Any) -> None:
    [found], account = used(written(folder, record))
    tokens = engine().tokenizer.encode
    rows = 112 // 14 // 2
    asked = "<|im_start|>user\n<|vision_start|>" + "<|image_pad|>" * rows**2
    asked += "<|vision_end|>What is it?<|im_end|>\n<|im_start|>assistant\n"
    pieces = [
        (asked, False),
        ("A red square.<|im_end|>", True),
        ("\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n", False),
        ("Yes.<|im_end|>", True),
    ]
    assert found.sample.ids.tolist() == [t for text, _ in pieces for t in tokens(text)]
    assert found.sample.answer.tolist() == [own for text, own in pieces for _ in tokens(text)]
    assert found.sample.vision is not None
    assert int(found.sample.vision.sum()) == rows**2
    assert (account.kept, account.dropped, found.images) == (1, 0, 1)


def test_what_comes_before_the_answer_is_what_the_engine_asks(folder: Path) -> None:
    [found], _ = used(written(folder, LLAVA))
    first = int(found.sample.answer.nonzero()[0])
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}
    assert found.sample.ids[:first].tolist() == engine().ids([message], images=[folder / "red.png"])


def test_a_system_turn_beside_the_turns_is_the_first(folder: Path) -> None:
    beside = PLAIN | {"system": "Be short."}
    inside = {"messages": [{"role": "system", "content": "Be short."}, *PLAIN["messages"]]}
    (a, b), _ = used(written(folder, beside, inside))
    assert torch.equal(a.sample.ids, b.sample.ids)
    assert "Be short." in engine().tokenizer.decode(a.sample.ids.tolist())


def templated(template: str) -> ChatTokenizer:
    tokenizer = ChatTokenizer.load(NANO_PLANNER, None)
    tokenizer._hf.chat_template = template
    return tokenizer


def test_a_template_without_an_end_gets_one() -> None:
    tokenizer = templated("{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}"
                          "{{ 'assistant: ' }}{% endif %}")  # fmt: skip
    ids, own = tokenizer.turns(PLAIN["messages"], [])
    end = tokenizer._hf.eos_token_id
    assert [t for t, o in zip(ids, own, strict=True) if o] == [*tokenizer.encode("2"), end]
    assert own == [False] * (len(ids) - 2) + [True, True]


def test_a_template_that_rewrites_history_is_refused() -> None:
    tokenizer = templated("{% for m in messages %}{% if loop.last or m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
                          "{% if add_generation_prompt %}{{ ' > ' }}{% endif %}")  # fmt: skip
    with pytest.raises(InputError, match="otherwise when it follows"):
        tokenizer.turns([*PLAIN["messages"], *PLAIN["messages"]], [])
    strict = templated("{{ raise_exception('turns must alternate') }}")
    with pytest.raises(InputError, match="turns must alternate"):
        strict.turns(PLAIN["messages"], [])


def test_a_sample_trains(folder: Path) -> None:
    """What comes of a record is what views are made of: the loss of a model that was never taught it falls."""
    loaded = Engine.load(NANO_PLANNER, adapter="transformers", dtype="float32")
    [found], _ = used(written(folder, LLAVA))
    model: Any = loaded.backbone.model  # type: ignore[attr-defined]
    prepare(model)
    model.requires_grad_(True)
    recipe = FastDvlm(mask_token_id=loaded.spec.mask_token_id, stop_id=loaded.tokenizer.encode("<|im_end|>")[0])
    views = recipe.views([found.sample], np.random.default_rng(0))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    seen = []
    for _ in range(4):
        sight = look(model, found.sample, found.pictures)
        each = losses(model, views, [sight] * len(views))
        loss = total(each, views)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < seen[0]


# --- what cannot be used --------------------------------------------------------------------------------------------------------


def turns(*words: str, **more: Any) -> dict[str, Any]:
    """Of the two speakers in turn."""
    return {"conversations": [{"from": ("human", "gpt")[n % 2], "value": w} for n, w in enumerate(words)], **more}


BAD: list[tuple[str, Any, str]] = [
    ("unreadable", '{"conversations": [', "Expecting value"),
    ("unreadable", "[1, 2]", "a list"),
    ("unreadable", "[" * 100_000, ""),
    ("form", {"text": "hello"}, "it has text"),
    ("form", {"messages": ["hello"]}, "turn 1 is a str"),
    ("form", {"messages": [{"role": "user", "content": 7}]}, "its words are a int"),
    ("form", {"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "'video'"),
    ("form", {"messages": [{"role": "assistant", "content": "2"}]}, "begins with an answer"),
    ("form", turns("a", "b", image=7), "image or images"),
    ("role", {"messages": [{"role": "tool", "content": "a"}]}, "turn 1: 'tool'"),
    ("role", {"messages": [{"role": ["user"], "content": "a"}]}, "turn 1"),
    ("no answer", turns("a"), "the user's"),
    ("no answer", turns("a", "b", "c"), "the user's"),
    ("empty turn", turns("a", ""), "turn 2"),
    ("empty turn", turns("a", " \n"), "turn 2"),
    ("empty turn", turns(" ", "b"), "turn 1"),
    ("special token", turns("a<|im_end|>", "b"), "turn 1: '<|im_end|>'"),
    ("special token", turns("a", "b<|image_pad|>"), "turn 2: '<|image_pad|>'"),
    ("special token", turns("a", "b<|MASK|>"), "turn 2: '<|MASK|>'"),
    ("missing file", turns("<image>a", "b", image="gone.png"), "gone.png"),
    ("missing file", turns("<image>a", "b", image="a\0b"), "a"),
    ("missing file", turns("<image>a", "b", image="x" * 5000), "xxx"),
    ("missing file", turns("<image>a", "b", image="https://example.org/a.png"), "only files"),
    ("corrupt picture", turns("<image>a", "b", image="cut.png"), "truncated"),
    ("corrupt picture", turns("<image>a", "b", image="text.png"), "no image"),
    ("misplaced pictures", turns("a", "b", image="red.png"), "0 places and 1 pictures"),
    ("misplaced pictures", turns("<image><image>a", "b", image="red.png"), "2 places and 1 pictures"),
    ("misplaced pictures", turns("a", "b<image>", image="red.png"), "in an answer"),
    ("too long", turns("a " * 300, "b"), "the longest may have 200"),
]


@pytest.mark.parametrize(("reason", "record", "said"), BAD, ids=[f"{n} {b[0]}" for n, b in enumerate(BAD)])
def test_a_bad_record_is_told_by_number_and_the_others_are_used(folder: Path, reason: str, record: Any, said: str) -> None:
    found, account = used(written(folder, PLAIN, "", record, LLAVA))
    assert [e.number for e in found] == [1, 4]
    assert account.counts == {reason: 1}
    [(number, detail)] = account.named[reason]
    assert number == 3
    assert said in detail
    assert len(detail) < 300
    assert f"  1 {REASONS[reason]}" in account.lines()


def test_an_extreme_picture_is_refused_and_told(folder: Path) -> None:
    Image.new("RGB", (4000, 4)).save(folder / "line.png")
    _, account = used(written(folder, turns("<image>a", "b", image="line.png"), PLAIN))
    assert account.counts == {"refused": 1}
    assert "4000x4" in account.named["refused"][0][1]


def test_a_model_without_eyes_refuses_pictures(folder: Path) -> None:
    blind = Encoder(ChatTokenizer.load(NANO_PLANNER, None), None, 200)
    account = Account("x", 1.0)
    list(usable(Conversations(written(folder, LLAVA, PLAIN)), blind, account))
    assert account.counts == {"refused": 1}


def test_past_the_share_the_run_ends_and_says_with_what(folder: Path) -> None:
    file = written(folder, *[PLAIN] * 8, turns("a", ""), turns("a"))
    used(file, allowed=0.2)
    with pytest.raises(InputError, match=r"20\.0 % of 10 records cannot be used, more than the allowed 10 % .*record 9 has a turn"):
        used(file, allowed=0.1)
    with pytest.raises(InputError, match="holds no record that can be used"):
        used(written(folder, turns("a")), allowed=1.0)


def test_a_hopeless_file_ends_early() -> None:
    account = Account("x", 0.01, patience=50)
    for n in range(49):
        account.drop(n, Dropped("form", "bad"))
    with pytest.raises(InputError, match="of 50 records"):
        account.drop(49, Dropped("form", "bad"))


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.floats()
        | st.text(max_size=8)
        | st.sampled_from(["user", "gpt", "<image>", "text", "image"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "conversations",
                        "messages",
                        "from",
                        "role",
                        "value",
                        "content",
                        "image",
                        "images",
                        "type",
                        "text",
                        "system",
                        "url",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_conversation_or_dropped(record: Any) -> None:
    try:
        found = read(record, 1)
    except Dropped:
        return
    assert isinstance(found, Conversation)
    assert found.messages[-1]["role"] == "assistant"


# --- files ----------------------------------------------------------------------------------------------------------------------


def test_lines_and_arrays_hold_the_same(folder: Path) -> None:
    """Blank lines, line ends of Windows, none at the end, letters of several bytes."""
    records = [PLAIN, turns("東京?", "京"), LLAVA]
    lines = folder / "lines.jsonl"
    lines.write_bytes("\r\n\n".join(json.dumps(r, ensure_ascii=False) for r in records).encode())
    array = folder / "array.json"
    array.write_text(" " + json.dumps(records, indent=1))
    a, b = Conversations(lines), Conversations(array)
    assert len(a) == len(b) == 3
    assert [a.read(n).messages for n in (2, 0, 1)] == [b.read(n).messages for n in (2, 0, 1)]
    assert [a.number(n) for n in range(3)] == [1, 3, 5]
    assert [b.number(n) for n in range(3)] == [1, 2, 3]


def test_files_that_are_none(folder: Path) -> None:
    (folder / "empty.jsonl").write_text("\n \n")
    (folder / "half.json").write_text("[{")
    for file, said in (("empty.jsonl", "is empty"), ("half.json", "is none"), ("gone.jsonl", "No such file")):
        with pytest.raises(InputError, match=said):
            Conversations(folder / file)
    with pytest.raises(InputError, match="no such folder of pictures"):
        Conversations(written(folder, PLAIN), folder / "nowhere")


def test_edge_data_reports(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(folder, PLAIN, LLAVA, turns("a", ""))
    assert run(["data", str(file), "--model", str(NANO_PLANNER), "--allowed", "0.5", "--longest", "200"]) == 0
    out = capsys.readouterr().out
    assert "2 of 3 records can be used" in out
    assert "record 3: turn 2" in out
    assert "of these learnt" in out
    assert run(["data", str(file), "--model", str(NANO_PLANNER), "--longest", "200"]) == 2
    told = capsys.readouterr()
    assert "record 3: turn 2" in told.out
    assert "more than the allowed 1 %" in told.err
