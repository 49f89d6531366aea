"""`--trace`, `--watch` and `edge trace` end to end, on the shipped planner."""

from __future__ import annotations

import json
import re
import sys

import pytest
from PIL import Image

from edge.cli.main import run
from edge.cli.zoo import NANO_PLANNER
from edge.trace.record import read_trace
from tests.edge.cli.test_generate import SCHEMA

GENERATE = ["generate", "--model", str(NANO_PLANNER), "--prompt", "What do you see?"]


@pytest.mark.parametrize("strategy", ["ar", "self-spec", "fused", "threshold"])
def test_generate_writes_a_trace_and_trace_draws_it(tmp_path, strategy, capfd) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    file, picture = tmp_path / "t.jsonl", tmp_path / "t.png"
    argv = [*GENERATE, "--schema", str(tmp_path / "s.json"), "--strategy", strategy, "--trace", str(file)]
    assert run(argv) == 0
    out, err = capfd.readouterr()
    records = read_trace(file)
    tokens, forwards = (int(n) for n in re.findall(r"(\d+) tokens, (\d+) forwards", err)[0])
    assert len(records) == forwards
    assert len(records[-1].states) == tokens
    assert [name for name, _ in records[0].sections] == list(SCHEMA["properties"])
    texts = {t.row: t.text for r in records for t in r.written}
    assert "".join(texts[k] for k in sorted(texts)) == out.rstrip("\n")
    assert run(["trace", str(file), "--out", str(picture)]) == 0
    with Image.open(picture) as image:
        assert image.width == 1600
        assert len(image.convert("RGB").getcolors(1 << 20)) > 100


def test_plan_writes_a_trace(tmp_path, capfd) -> None:
    argv = ["plan", "--scene", "demo", "--strategy", "fused", "--trace", str(tmp_path / "t.jsonl")]
    assert run(argv) == 0
    records = read_trace(tmp_path / "t.jsonl")
    assert len(records) == json.loads(capfd.readouterr().out)["forwards"]
    assert records[0].strategy == "fused"


def test_watch_without_a_terminal_says_so_and_no_more(capfd) -> None:
    assert run([*GENERATE, "--max-new-tokens", "5"]) == 0
    out, counts = capfd.readouterr()
    assert run([*GENERATE, "--max-new-tokens", "5", "--watch"]) == 0
    watched, err = capfd.readouterr()
    assert watched == out
    lines = err.splitlines()
    assert lines[0] == "edge: --watch shows nothing: standard error is no terminal"
    assert len(lines) == 1 + len(counts.splitlines())


@pytest.mark.parametrize(
    ("content", "message"), [("", "holds no record"), ("{", "line 1: no trace record"), ('{"schema": "edge.trace/1"}', "strategy")]
)
def test_a_broken_trace_gets_one_line_and_status_2(tmp_path, content, message, capfd) -> None:
    (tmp_path / "t.jsonl").write_text(content)
    assert run(["trace", str(tmp_path / "t.jsonl"), "--out", str(tmp_path / "t.png")]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("edge: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "t.png").exists()


def test_a_picture_without_matplotlib_names_the_extra(tmp_path, monkeypatch, capfd) -> None:
    assert run([*GENERATE, "--max-new-tokens", "3", "--trace", str(tmp_path / "t.jsonl")]) == 0
    capfd.readouterr()
    monkeypatch.delitem(sys.modules, "edge.trace.picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    assert run(["trace", str(tmp_path / "t.jsonl"), "--out", str(tmp_path / "t.png")]) == 2
    err = capfd.readouterr().err
    assert "pip install 'edge-dvla[drive]'" in err
    assert err.count("\n") == 1


def test_a_trace_that_cannot_be_written(tmp_path, capfd) -> None:
    assert run([*GENERATE, "--trace", str(tmp_path / "absent" / "t.jsonl")]) == 2
    err = capfd.readouterr().err
    assert "cannot write the trace" in err
    assert err.count("\n") == 1
