"""Long work says how far it is, in a log too."""

from __future__ import annotations

from edge.core.progress import progress


def test_a_log_gets_lines(capsys) -> None:
    assert list(progress(iter("abc"), 3, "reading", every_s=0)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["reading: 1 of 3", "reading: 2 of 3", "reading: 3 of 3"]
    assert lines[-1].endswith("0.0 min left")
    assert lines[0] == "reading: 1 of 3"  # one item tells no rate


def test_not_every_step_is_a_line(capsys) -> None:
    assert len(list(progress(range(100), 100, "reading"))) == 100
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_silence(capsys) -> None:
    assert list(progress([1, 2], 2, "reading", show=False, every_s=0)) == [1, 2]
    assert capsys.readouterr().err == ""
