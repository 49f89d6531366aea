"""The command line: its surface, its exit status, its one-line errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edge.cli.main import COMMANDS, run


def test_surface() -> None:
    """Adding a command is a decision: it shows up here."""

    def names(table: dict, *before: str) -> set[str]:
        deeper = [names(c, *before, n) if isinstance(c, dict) else {" ".join([*before, n])} for n, c in table.items()]
        return set().union(*deeper)

    assert names(COMMANDS) == {
        "generate",
        "plan",
        "train",
        "convert",
        "data",
        "import",
        "verify",
        "quantize",
        "bench plan",
        "bench decode",
        "bench rows",
        "bench server",
        "bench render",
        "bench deadline",
        "bench policy",
        "bench sight",
        "bench transport",
        "bench realtime",
        "serve",
        "drive data",
        "drive submit",
        "drive reference",
        "drive eval",
        "drive closed-loop",
        "drive teach",
        "policy collect",
        "policy train",
        "policy eval",
        "policy film",
        "policy cache record",
        "policy cache solve",
        "policy cache report",
        "act serve",
        "act sim",
        "act budget",
        "trace",
    }


@pytest.mark.parametrize(
    "argv", [["--help"], ["plan", "--help"], ["bench", "plan", "--help"], ["drive", "eval", "--help"], ["trace", "--help"]]
)
def test_help_needs_neither_torch_nor_transformers(argv) -> None:
    """Importing torch takes seconds; help must not."""
    code = (
        "import sys\nfrom edge.cli.main import run\n"
        f"try:\n    status = run({argv!r})\nexcept SystemExit as e:\n    status = e.code\n"
        "assert not status, status\n"
        "assert not {'torch', 'transformers', 'numpy', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["plna"], "unknown command 'plna'; did you mean 'plan'?"),
        (["plan", "--scene", "demo", "--strategy", "selfspec"], "unknown strategy 'selfspec'; did you mean 'self-spec'?"),
        (["plan", "--scene", "demo", "--model", "nowhere"], "nowhere"),
        (["plan"], "give either --scene"),
        (["plan", "--scene", "dmeo"], "scene 'dmeo' is none of"),
        (["plan", "--scene", "gone.npz:a:1:2"], "gone.npz: no such file"),
        (["generate", "--model", "nowhere", "--prompt", "x"], "nowhere"),
        (["train", "none.toml", "--out", "x"], "none.toml: no such file"),
        (["bench", "plan", "--data", "gone.npz"], "gone.npz: no such file"),
        (["trace", "gone.jsonl", "--out", "x.png"], "gone.jsonl: no such file; write one with"),
        (["plan", "--scene", "demo", "--strategy", "all", "--trace", "x.jsonl"], "--trace writes the forwards of one strategy"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(argv, message, capfd) -> None:
    assert run(argv) == 2
    err = capfd.readouterr().err
    assert message in err
    assert err.startswith("edge: ")
    assert err.count("\n") == 1


def test_bench_without_data_says_where_it_looks(monkeypatch, capfd) -> None:
    monkeypatch.delenv("EDGE_DATA", raising=False)
    assert run(["bench", "plan"]) == 2
    assert "EDGE_DATA" in capfd.readouterr().err
