"""The compiled template: frozen rows, allowed ids, blocks, and the way back to text."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decoding.scaffold import build
from decoding.template import Choice, FreeText, JsonNumber, Number, Template, TemplateSection, Text
from edge.core.errors import UnsupportedError
from tests.decoding.test_exactness import PAD, STOP, VOCAB, Letters, compiled, templates


def one(*parts) -> Template:
    return Template(sections=(TemplateSection(name="s", parts=parts),))


@given(template=templates, data=st.data())
def test_walking_the_allowed_ids_always_gives_a_valid_answer(template, data) -> None:
    """Left to right, any path of allowed ids ends in an answer whose values fill the same rows again."""
    scaffold = compiled(template)
    tokens = scaffold.tokens.clone()
    cursor = scaffold.cursor(0, tokens)
    for row in range(len(scaffold)):
        ids = cursor.ids().tolist()
        assert ids == scaffold.cursor(row, tokens).ids().tolist(), "a cursor that walked is one that was opened there"
        assert ids == [i for i in range(VOCAB) if cursor.allows(i)]
        assert ids == scaffold.allowed_given(row, tokens, torch.arange(len(scaffold)) < row).tolist()
        if scaffold.frozen[row]:
            assert ids == [int(scaffold.tokens[row])]
        tokens[row] = data.draw(st.sampled_from(ids))
        cursor.step(int(tokens[row]))
    assert cursor.over
    assert torch.equal(scaffold.fill(scaffold.values(tokens)), tokens)
    for (_, hole), value in zip(template.holes(), scaffold.values(tokens), strict=True):
        if isinstance(hole, Choice):
            assert value in hole.options
        elif isinstance(hole, Number):
            assert hole.format(float(value)).lstrip("+-") == value.lstrip("+-")


@given(template=templates, size=st.integers(1, 9))
def test_blocks_cover_the_answer_and_hold_at_most_size_open_rows(template, size) -> None:
    scaffold = compiled(template)
    ends = scaffold.block_ends(size)
    assert list(ends) == sorted(set(ends))
    assert ends[-1] == len(scaffold)
    start = 0
    for end in ends:
        open_rows = (~scaffold.frozen[start:end]).nonzero().flatten() + start
        assert open_rows.numel() <= size
        sections = {s.name for s in scaffold.sections for r in open_rows.tolist() if s.start <= r < s.end}
        assert len(sections) <= 1 or len({s.name for s in scaffold.sections}) < len(scaffold.sections)
        start = end


def test_sections_cover_all_rows_and_the_stop_token_ends_them() -> None:
    scaffold = compiled(one(Text(text="ab"), Number(integer_digits=1, decimals=1)))
    assert [(s.name, s.start, s.end) for s in scaffold.sections] == [("s", 0, 7)]
    assert scaffold.tokens.tolist()[-1] == STOP
    assert scaffold.frozen.tolist() == [True, True, False, False, True, False, True]


def test_alternatives_narrow_as_they_are_decided() -> None:
    scaffold = compiled(one(Choice(options=("ab", "ac", "d"))))
    a, b, c, d = (Letters().encode(x)[0] for x in "abcd")
    tokens = torch.tensor([a, 0, 0])
    assert scaffold.cursor(1, tokens).ids().tolist() == [b, c]
    tokens[0] = d
    assert scaffold.cursor(1, tokens).ids().tolist() == [PAD]
    decided = torch.tensor([False, True, True])
    tokens[1] = c
    assert scaffold.allowed_given(0, tokens, decided).tolist() == [a]


def test_free_text_is_padding_after_padding() -> None:
    scaffold = compiled(one(FreeText(budget=3)))
    a = Letters().encode("a")[0]
    assert scaffold.cursor(1, torch.tensor([PAD, 0, 0])).ids().tolist() == [PAD]
    assert len(scaffold.cursor(1, torch.tensor([a, 0, 0])).ids()) > 2
    later = scaffold.allowed_given(0, torch.tensor([0, a, 0]), torch.tensor([False, True, False]))
    assert PAD not in later
    assert a in later
    assert scaffold.open_rows(torch.tensor([a, PAD, PAD, STOP])) == (1, 2)


def test_no_special_or_structural_id_is_writable() -> None:
    class Quoting(Letters):
        alphabet = '0123456789+-.abcdef"\\'

    mask = build(one(FreeText(budget=1)), Quoting(), vocab_size=VOCAB, pad_token_id=PAD).static[0]
    assert not mask[Quoting().encode('"')[0]]
    assert not mask[Quoting().encode("\\")[0]], "a lone backslash has no room for what must follow it"
    assert mask.nonzero().flatten().tolist() == [*range(19), PAD]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Choice(options=("a", "bc")), "'choice' .* has values of 1 to 2 tokens and the checkpoint has no padding token"),
        (FreeText(budget=2), "'free' has values of 0 to 2 tokens"),
        (JsonNumber(lowest=0, highest=10), "'json-number' has values of 1 to 2 tokens"),
    ],
)
def test_without_a_padding_token_what_needs_one_is_refused(part, message) -> None:
    with pytest.raises(UnsupportedError, match=message):
        build(one(part), Letters(), vocab_size=VOCAB)


def test_a_tokenizer_that_merges_digits_is_refused() -> None:
    class Merging(Letters):
        def encode(self, text: str) -> list[int]:
            return [0, 1] if text == "7" else super().encode(text)

    with pytest.raises(UnsupportedError, match="needs '7' as one token"):
        build(one(Number(integer_digits=1, decimals=0)), Merging(), vocab_size=VOCAB)


@pytest.mark.parametrize("values", [["h"], ["aaaa"], [], ["a", "b"]])
def test_fill_names_the_hole_it_cannot_fill(values) -> None:
    scaffold = compiled(one(Choice(options=("a", "bcd"))))
    with pytest.raises(ValueError, match=r"hole|holes"):
        scaffold.fill(values)


@pytest.mark.parametrize(("value", "text"), [(14.7, "+014.70"), (-0.04, "-000.04"), (999.99, "+999.99")])
def test_fixed_width_numbers(value, text) -> None:
    assert Number(integer_digits=3, decimals=2).format(value) == text


@pytest.mark.parametrize("value", [1000.0, -1e9, float("nan"), float("inf")])
def test_numbers_that_do_not_fit_are_refused(value) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Number(integer_digits=3, decimals=2).format(value)
