"""What a person sees, where the bytes do not matter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge.training import progress
from edge.training.memory import keep_memory
from edge.training.progress import Reporter


def test_plain_lines_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter("run", 2, 4, 8, tmp_path / "log") as reporter:
        reporter.step(3, 1.5)
        reporter.step(4, 1.25)
    said = capsys.readouterr().err
    assert "run step 4/4 loss 1.2500" in said
    assert "step 3/4" not in said, "a line now and then"
    assert "windows/s, 0.0 min left" in (tmp_path / "log").read_text()


def test_a_line_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_S", 0.0)
    with Reporter("run", 0, 4, 8, tmp_path / "log", show=False) as reporter:
        for step in (1, 2):
            reporter.step(step, 1.0)
    assert len((tmp_path / "log").read_text().splitlines()) == 2


def test_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with Reporter("run", 0, 2, 8, tmp_path / "log") as reporter:
        reporter.step(2, 1.0)
    assert "2/2" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_memory_is_kept() -> None:
    assert keep_memory()


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_memory()
