"""Records of an engine's generations, and files of them."""

from __future__ import annotations

import inspect
import json
import time
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import edge
from edge.core.errors import InputError, UnsupportedError
from edge.core.tracing import State
from edge.engine import Engine
from edge.generation import Generation
from edge.strategies import STRATEGIES
from edge.trace.record import COUNTED, TraceRecord, read_trace, writing
from tests.decoding.test_exactness import compiled, prompts, templates
from tests.edge.test_engine import FORKED, save


def present() -> list[str]:
    """Registered strategies whose module is there."""
    out = []
    for name in STRATEGIES.names():
        try:
            STRATEGIES.get(name)
        except ModuleNotFoundError:
            continue
        out.append(name)
    return out


@pytest.fixture(scope="module")
def engines(tmp_path_factory) -> list[Engine]:
    """Random weights, of both label shifts: a strategy may want one of them."""
    folders = [tmp_path_factory.mktemp("model") for _ in range(2)]
    for shift, folder in enumerate(folders):
        save(folder, 1, shift=shift)
    return [edge.load(folder, dtype="float64") for folder in folders]


@pytest.fixture(scope="module")
def engine(engines) -> Engine:
    return engines[1]


def options(strategy: str, block_size: int) -> dict[str, int]:
    return {"block_size": block_size} if "block_size" in inspect.signature(STRATEGIES.get(strategy)).parameters else {}


@pytest.mark.parametrize("strategy", present())
@settings(max_examples=15, deadline=None)
@given(prompt=prompts, block_size=st.integers(2, 16), n=st.integers(1, 25), template=st.one_of(st.none(), templates))
def test_totals_are_those_of_the_generation(engines, strategy, prompt, block_size, n, template) -> None:
    schema = None if template is None else compiled(template)
    common = {"schema": schema, "max_new_tokens": n if schema is None else 256, "strategy": strategy} | options(
        strategy, block_size
    )
    taken = 0
    for engine in engines:
        try:
            g = engine.generate(prompt, **common)
        except UnsupportedError:
            continue
        taken += 1
        check_totals(engine, prompt, common, g)
    if not taken:
        reject()


def check_totals(engine: Engine, prompt: list[int], common: dict[str, Any], unwatched: Generation) -> None:
    records: list[TraceRecord] = []
    g = engine.generate(prompt, trace=records.append, **common)
    assert g.tokens == unwatched.tokens
    assert [r.forward for r in records] == list(range(1, g.forwards + 1))
    assert sum(r.rows for r in records) == g.rows
    if not records:
        return
    total = sum(r.accepted + r.corrected + r.decided + r.settled - r.dropped for r in records)
    assert total == g.open_tokens + g.pad_tokens
    tokens = {t.row: t.id for r in records for t in r.written}
    assert [tokens[k] for k in range(len(g.tokens))] == g.tokens
    assert sum(r.ms for r in records) <= g.timings["total"]
    sections = {name for name, _ in records[0].sections}
    assert {r.section for r in records} <= (sections or {None})


@pytest.mark.parametrize("strategy", ["ar", "self-spec", "fused"])
def test_rollouts_have_their_own_records(engine, strategy) -> None:
    records: list[TraceRecord] = []
    common = {"schema": FORKED, "strategy": strategy, "temperature": 1.0, "fork_at": "trajectory", "rollouts": 3}
    g = engine.generate([3, 1, 7], trace=records.append, **common)
    assert {r.forward for r in records} == set(range(1, g.forwards + 1))
    assert sum(r.rows for r in records) == g.rows
    assert {r.lineage for r in records} == {0, 1, 2, 3}
    start = FORKED.sections[1].start
    prefix = [r for r in records if r.lineage == 0]
    open_ahead = set(State) - {State.FROZEN, State.OPEN, State.GUESSED}
    assert not any(open_ahead & set(r.states[start:]) for r in prefix), "what follows the fork is nobody's before it"
    for k, branch in enumerate(g.branches, start=1):
        own = [r for r in records if r.lineage == k]
        assert own[0].forward == len(prefix) + 1
        assert {r.section for r in own} == {"trajectory"}
        tokens = {t.row: t.id for r in own for t in r.written}
        assert [tokens[row] for row in range(len(branch.tokens))] == branch.tokens
        decided = sum(r.accepted + r.corrected + r.decided + r.settled for r in (*prefix, *own))
        assert decided == branch.open_tokens + branch.pad_tokens


def test_what_a_listener_takes_is_no_time_of_a_forward(engine) -> None:
    times: list[float] = []

    def slow(record: TraceRecord) -> None:
        times.append(record.ms)
        time.sleep(0.02)

    g = engine.generate([1, 2, 3], max_new_tokens=6, strategy="ar", trace=slow)
    assert sum(times) + 20 * len(times) <= g.timings["total"]


def test_nobody_watching_costs_nothing(engine, monkeypatch) -> None:
    monkeypatch.setattr("edge.engine.Tracer", None)
    assert engine.generate([1, 2], max_new_tokens=5).forwards


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
counts = st.integers(0, 400)
tokens = st.lists(st.tuples(counts, counts, texts), max_size=4).map(tuple)


@st.composite
def made(draw) -> TraceRecord:
    states = draw(st.text("".join(State), max_size=30))
    return TraceRecord(
        strategy=draw(texts),
        lineage=draw(st.integers(0, 3)),
        forward=1,
        kind=draw(st.sampled_from(["prefill", "step", "draft", "denoise", "verify", "fused"])),
        rows=draw(counts),
        drafted=draw(counts),
        cuts=draw(st.lists(counts, max_size=3).map(tuple)),
        dropped=draw(counts),
        section=draw(st.none() | texts),
        sections=draw(st.lists(st.tuples(texts, counts), max_size=3).map(tuple)),
        ms=draw(st.floats(0, 1e6)),
        states=states,
        written=draw(tokens),
        missed=draw(tokens),
        **{name: states.count(state) for name, state in COUNTED.items()},
    )


@settings(max_examples=100, deadline=None)
@given(record=made())
def test_a_file_reads_back(tmp_path_factory, record) -> None:
    """Line separators of Unicode in a token's text are not lines of the file."""
    path = tmp_path_factory.getbasetemp() / "one.jsonl"
    with writing(path) as write:
        write(record)
    assert read_trace(path) == [record]
    assert json.loads(path.read_text(encoding="utf-8"))["schema"] == "edge.trace/1"


@pytest.fixture
def lines(engine) -> list[str]:
    records: list[TraceRecord] = []
    engine.generate([1, 2, 3], max_new_tokens=9, trace=records.append)
    return [r.model_dump_json() for r in records]


def change(line: str, **changes) -> str:
    return json.dumps(json.loads(line) | changes)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: [], "holds no record"),
        (lambda x: [x[0], x[1][:40], *x[2:]], "line 2: no trace record"),
        (lambda x: ["[]", *x], "line 1: no trace record"),
        (lambda x: [change(x[0], colour="red"), *x[1:]], "line 1: no trace record: colour: Extra inputs are not permitted"),
        (lambda x: [change(x[0], schema="edge.trace/2"), *x[1:]], "schema"),
        (lambda x: [change(x[0], rows="3"), *x[1:]], "rows: Input should be a valid integer"),
        (lambda x: [change(x[0], rows=-1), *x[1:]], "rows"),
        (lambda x: [change(x[0], ms=-1), *x[1:]], "ms"),
        (lambda x: [change(x[0], states="fz"), *x[1:]], "states"),
        (lambda x: [change(x[0], decided=7), *x[1:]], "decided is 7 and states has 1 rows 'n'"),
        (lambda x: [*x, change(x[0], strategy="ar")], "holds records of 'self-spec' and of 'ar'"),
        (lambda x: [*x, x[0]], "forward 1 is there twice"),
        (lambda x: [x[0], *x[2:]], "forward 2 is missing"),
    ],
)
def test_broken_files_get_one_line(tmp_path, lines, spoil, message) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(spoil(lines)))
    with pytest.raises(InputError, match=message) as e:
        read_trace(path)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 400


def test_files_that_cannot_be_used(tmp_path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_trace(tmp_path / "gone.jsonl")
    with pytest.raises(InputError, match="cannot read the trace"):
        read_trace(tmp_path)
    (tmp_path / "b").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot read the trace"):
        read_trace(tmp_path / "b")
    with pytest.raises(InputError, match="cannot write the trace"), writing(tmp_path / "absent" / "t.jsonl"):
        pass
