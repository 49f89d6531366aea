"""Fields against brute force: the words of an automaton, numbers, patterns, text beside text."""

from __future__ import annotations

import itertools
import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.machine import Machine, alternatives, explore, in_turn, padded
from decoding.numbers import characters, number_machine
from decoding.pattern import PatternError, positions
from decoding.template import JsonNumber, decimal
from decoding.writing import ESCAPE, PADDED, PLAIN, Alphabet, Writing, read

PAD = 99


def language(m: Machine) -> set[tuple[int, ...]]:
    out, open_ = set(), [(0, ())]
    while open_:
        state, word = open_.pop()
        if m.ends[state]:
            out.add(word)
        open_ += [(n, (*word, t)) for t, n in m.moves[state].items()]
    return out


sequences = st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=6)


@given(sequences)
def test_alternatives_accept_what_they_were_given(options) -> None:
    m = alternatives(options)
    assert language(m) == {tuple(o) for o in options}
    assert (m.least, m.width) == (min(map(len, options)), max(map(len, options)))


@given(sequences)
def test_padding_fills_up_to_one_width(options) -> None:
    m = padded(alternatives(options), PAD)
    assert m.exact
    assert language(m) == {(*o, *[PAD] * (m.width - len(o))) for o in options}


@given(sequences, st.data())
def test_rows_between_others_are_those_of_some_word(options, data) -> None:
    """What parallel commits may do: any subset of rows decided, and each other row takes what completes to a word."""
    m = padded(alternatives(options), PAD)
    word = data.draw(st.sampled_from(sorted(language(m))))
    given_rows = [t if data.draw(st.booleans()) else None for t in word]
    fits = [w for w in language(m) if all(g is None or g == t for g, t in zip(given_rows, w, strict=True))]
    assert m.between(given_rows) == [{w[i] for w in fits} for i in range(m.width)]


def test_ways_that_lead_nowhere_are_cut_off() -> None:
    m = explore(0, lambda s: [(1, 1), (2, 2)] if s == 0 else [], lambda s: s == 1)
    assert language(m) == {(1,)}
    with pytest.raises(ValueError, match="accepts nothing"):
        explore(0, lambda s: [], lambda s: False)


def test_classes_in_turn() -> None:
    assert language(in_turn([[1, 2], [3]])) == {(1, 3), (2, 3)}


# --- numbers ---------------------------------------------------------------------------------------------------------------------

IDS = {c: n for n, c in enumerate(" -.0123456789")}
LETTER = {n: c for c, n in IDS.items()}


@settings(max_examples=300)
@given(st.integers(-300, 300), st.integers(0, 400), st.integers(0, 3), st.booleans())
def test_numbers_are_exactly_those_within_the_bounds(low, span, decimals, fixed) -> None:
    part = JsonNumber(lowest=low, highest=low + span, decimals=decimals, fixed_width=fixed)
    expected = [decimal(n, decimals) for n in range(low, low + span + 1)]
    width = max(map(len, expected))
    m = number_machine(part, {c: IDS[c] for c in characters(part)})
    found = ["".join(LETTER[t] for t in w) for w in language(m)]
    assert sorted(found) == sorted(t.rjust(width) if fixed else t for t in expected)
    assert [part.format(n / 10**decimals) for n in range(low, low + span + 1)] == [t.rjust(width) if fixed else t for t in expected]
    assert [json.loads(t) for t in expected] == pytest.approx([n / 10**decimals for n in range(low, low + span + 1)])


def test_an_automaton_of_wide_bounds_stays_small() -> None:
    assert len(number_machine(JsonNumber(lowest=-(10**15), highest=10**15 - 7, decimals=2), IDS).moves) < 100


# --- patterns --------------------------------------------------------------------------------------------------------------------

atoms = st.sampled_from(["a", r"\.", r"\d", "[ab]", "[x-z0]", "(ab)", "(?:a[01])", r"[\d.]", "é", r"\\", "[-a]", "[a-]"])


@given(st.lists(st.tuples(atoms, st.sampled_from(["", "{1}", "{3}", "{0}"])), min_size=1, max_size=4), st.data())
def test_positions_are_what_the_expression_matches(pieces, data) -> None:
    pattern = "".join(a + n for a, n in pieces)
    found = positions(f"^{pattern}$")
    assert found == positions(pattern)
    text_ = "".join(data.draw(st.sampled_from(sorted(p))) for p in found)
    assert re.fullmatch(pattern, text_)
    for i, p in enumerate(found):
        for c in "abxyz01.-é\\":
            changed = text_[:i] + c + text_[i + 1 :]
            assert (c in p) == bool(re.fullmatch(pattern, changed))


@pytest.mark.parametrize(
    "pattern",
    [
        *("a*", "a+", "a?", "a|b", "a.b", "[^a]", "(?=a)", "(?P<x>a)", "a{1,2}", "a{,2}", "a{2", "(a", "a)", "[a", "[z-a]"),
        *(r"\s", r"\b", r"a\1", "a{2}{3}", "[]", "a^", "$a", "x{99999}", "\\", r"[\d-z]"),
    ],
)
def test_other_patterns_are_refused(pattern) -> None:
    with pytest.raises(PatternError):
        positions(pattern)


# --- text ------------------------------------------------------------------------------------------------------------------------


class Pieces:
    """Tokens of one or more characters, a quote, a backslash, an escape, half a character, and padding."""

    pieces = ("a", "bc", "n", '"', "\\", "\\n", "x\\", "\ufffd", "é", "\n", "")

    def encode(self, text: str) -> list[int]:
        return [self.pieces.index(text)] if text in self.pieces else [-1]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.pieces[i] for i in ids)


NOTHING = len(Pieces.pieces) - 1


def test_reading_by_character() -> None:
    assert read("ab") == (PLAIN, 2)
    assert read("a\\") == (ESCAPE, 2)
    assert read('"b', ESCAPE) == (PLAIN, 1)
    for bad in ('"', "a\n", "\ufffd", "\\x", "\ud800"):
        assert read(bad) is None


def texts(alphabet: Alphabet, width: int, most: int | None, pad: bool) -> set[tuple[int, ...]]:
    """All token sequences that are text, by trying every one."""
    out = set()
    for n in range(width + 1):
        for word in itertools.product(range(NOTHING), repeat=n):
            joined = "".join(Pieces.pieces[t] for t in word)
            seen = read(joined)
            alone = all(Pieces.pieces[t] not in ("\n", "\ufffd") for t in word)
            if seen is not None and seen[0] == PLAIN and alone and (most is None or seen[1] <= most):
                out.add((*word, *[NOTHING] * (width - n)) if pad else word)
    return out


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize(("width", "most"), [(1, None), (2, 1), (3, None), (3, 2), (3, 4)])
def test_text_by_brute_force(width, most, pad) -> None:
    alphabet = Alphabet.of(Pieces(), len(Pieces.pieces), NOTHING if pad else None)
    field = Writing(alphabet, width, most)
    expected = texts(alphabet, width, most, pad)
    found, open_ = set(), [(field.start(), ())]
    while open_:
        state, word = open_.pop()
        ids = field.ids(state).tolist()
        assert ids == [t for t in range(len(Pieces.pieces)) if field.step(state, t) is not None]
        if field.ends(state) and (not pad or len(word) == width):
            found.add(word)
        else:
            assert ids, "no way is without an end"
        open_ += [(field.step(state, t), (*word, t)) for t in ids]
    assert found == expected
    if pad:
        for row, ids in enumerate(field.rows()):
            assert set(ids.tolist()) == {w[row] for w in expected}


@settings(max_examples=60)
@given(st.data(), st.sampled_from([None, 1, 2, 4]))
def test_text_beside_text_on_both_sides(data, most) -> None:
    field = Writing(Alphabet.of(Pieces(), len(Pieces.pieces), NOTHING), 3, most)
    whole = sorted(texts(field.alphabet, 3, most, True))
    word = data.draw(st.sampled_from(whole))
    given_rows = [t if data.draw(st.booleans()) else None for t in word]
    fits = [w for w in whole if all(g is None or g == t for g, t in zip(given_rows, w, strict=True))]
    for row in range(3):
        assert field.between(given_rows, row).tolist() == sorted({w[row] for w in fits})


def test_padding_is_a_state_of_its_own() -> None:
    alphabet = Alphabet.of(Pieces(), len(Pieces.pieces), NOTHING)
    assert alphabet.ids[PADDED].tolist() == [NOTHING]
    assert torch.equal(alphabet.to[PADDED], torch.tensor([PADDED]))
