"""The tokenizer as every user of a checkpoint loads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters import tokenizer as tok
from converters.data import user_turn
from converters.tokenizer import NanoTokenizer
from edge.core.errors import CheckpointError, InputError
from edge.models.text import ChatTokenizer

NUMBERS = ["+014.70, -000.04", "speed 12.5 -3", "[[ +1, 22333", "a1b22c-d.e+f"]


@pytest.mark.parametrize("text", NUMBERS)
def test_digits_signs_and_points_stand_alone(tokenizer: NanoTokenizer, text: str) -> None:
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode(text)]
    assert "".join(pieces) == text
    assert all(p in set("0123456789+-.") or not set(p) & set("0123456789+-.") for p in pieces)


def test_they_stand_alone_even_where_the_training_text_never_splits_them(tmp_path: Path) -> None:
    t = tok.train(["+12.5" * 3, "x-1.5 x-1.5 x-1.5 +1"] * 200, tmp_path, vocab_size=400)
    assert len(t.encode("x-1.5 +12.5")) == 11


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_comes_back(tokenizer: NanoTokenizer, text: str) -> None:
    import unicodedata

    if "<|" not in text:
        assert tokenizer.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", text)


def test_special_tokens_are_single_and_distinct(tokenizer: NanoTokenizer) -> None:
    ids = [tokenizer.encode(t) for t in tok.SPECIAL]
    assert all(len(i) == 1 for i in ids)
    assert len({i[0] for i in ids}) == len(tok.SPECIAL)
    assert tokenizer.decode([tokenizer.id(tok.NULL), *tokenizer.encode("x")]) == "x"


def test_training_reads_prompts_as_the_engine_does(tokenizer: NanoTokenizer, checkpoint: Path) -> None:
    image = tokenizer.id(tok.IMAGE)
    chat = ChatTokenizer.load(checkpoint, image)
    content = [{"type": "text", "text": "go\n"}, *[{"type": "image"}] * 3, {"type": "text", "text": "\nspeed 07"}]
    ids = chat.chat([{"role": "user", "content": content}], [1, 1, 1])
    assert ids == tokenizer.encode(user_turn("go\n<image>\nspeed 07", 3))
    assert chat.chat([{"role": "user", "content": "hi"}], []) == tokenizer.encode(
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_literals_become_one_token(tmp_path: Path) -> None:
    t = tok.train(["abc"] * 9, tmp_path, vocab_size=300, literals=['{"key": "', '", "other": "'])
    assert len(t.encode('{"key": "yes", "other": "')) == 5
    assert t.decode(t.encode('{"key": "yes", "other": "')) == '{"key": "yes", "other": "'


def test_the_same_texts_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tok.train(["one two three", "two three four"] * 40, tmp_path / name, vocab_size=300)
    assert (tmp_path / "a/tokenizer.json").read_bytes() == (tmp_path / "b/tokenizer.json").read_bytes()


def test_refusals(tmp_path: Path, tokenizer: NanoTokenizer) -> None:
    with pytest.raises(InputError, match="256 bytes and 9 fixed tokens: got 200"):
        tok.train(["x"], tmp_path, vocab_size=200)
    with pytest.raises(CheckpointError, match="cannot read the tokenizer"):
        NanoTokenizer.load(tmp_path / "none")
    with pytest.raises(CheckpointError, match="no token '<\\|nope\\|>'"):
        tokenizer.id("<|nope|>")
