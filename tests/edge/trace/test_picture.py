"""The picture of a trace: its size, and that it shows what the records say."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edge
from edge.core.errors import InputError
from edge.core.tracing import State
from edge.trace.figure_grid import COLOURS, Filling
from edge.trace.picture import WIDTH_PX, draw_trace
from edge.trace.record import Token, TraceRecord
from tests.edge.test_engine import FORKED, save


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save(folder, 1)
    return edge.load(folder, dtype="float64")


def traced(engine, **kwargs) -> list[TraceRecord]:
    records: list[TraceRecord] = []
    engine.generate([1, 2, 3], trace=records.append, **kwargs)
    return records


def near(picture: Path, colour: str) -> int:
    """Pixels of a colour."""
    rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return int((np.asarray(Image.open(picture).convert("RGB")) == rgb).all(axis=2).sum())


@pytest.mark.parametrize("strategy", ["ar", "self-spec", "fused", "threshold"])
@pytest.mark.parametrize("schema", [None, FORKED])
def test_a_state_has_its_colour_as_often_as_it_occurs(engine, tmp_path, strategy, schema) -> None:
    records = traced(engine, strategy=strategy, schema=schema, max_new_tokens=20)
    path = draw_trace(records, tmp_path / "t.png")
    assert path == tmp_path / "t.png"
    with Image.open(path) as picture:
        assert picture.width == WIDTH_PX
        assert 300 < picture.height < 1600
    filling = Filling.of(records)
    pixels = {s: near(path, COLOURS[s]) for s in (State.ACCEPTED, State.CORRECTED, State.NEW, State.REJECTED, State.GUESSED)}
    for state, n in pixels.items():
        assert (n > 0) == (filling.count(state) > 0), state
    most = max(pixels, key=lambda s: filling.count(s))
    assert pixels[most] == max(pixels.values())


def test_lines_and_columns(engine) -> None:
    records = traced(engine, strategy="self-spec", schema=FORKED)
    filling = Filling.of(records)
    assert filling.lines == records
    assert filling.columns == len(records[-1].states)
    assert filling.pixels().shape == (len(records), filling.columns, 3)
    assert [filling.states(n) for n in range(len(records))] == [r.states for r in records]


def test_rollouts_follow_one_another(engine, tmp_path) -> None:
    records = traced(engine, schema=FORKED, rollouts=2, temperature=1.0)
    filling = Filling.of(records)
    assert [r.lineage if r else None for r in filling.lines].count(None) == 2
    assert sum(r is not None for r in filling.lines) == len(records)
    assert filling.columns == len(FORKED)
    draw_trace(records, tmp_path / "t.png")


def test_many_forwards_and_odd_texts(engine, tmp_path) -> None:
    """Hundreds of lines still fit a screen or two; dollars are no formulas, and characters without a glyph no warnings."""
    first = traced(engine, max_new_tokens=5, strategy="ar")[0]
    odd = {"section": "$a", "sections": (("$a_{", 2), ("$\\frac$", 60)), "strategy": "$x^$"}
    states = State.NEW + State.OPEN * 59
    records = [
        first.model_copy(update=odd | {"forward": n, "states": states, "written": (Token(n % 60, 1, "東京 $_$ \n x"),)})
        for n in range(1, 400)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_trace(records[:2], tmp_path / "two.png")
        path = draw_trace(records, tmp_path / "t.png")
    with Image.open(path) as picture:
        assert picture.height < 2000


def test_unwritable_path(engine, tmp_path) -> None:
    with pytest.raises(InputError, match="cannot write the picture"):
        draw_trace(traced(engine, max_new_tokens=3), tmp_path / "absent" / "t.png")
