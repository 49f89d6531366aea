"""`edge act serve`: a shipped policy answers as the library does, and stops when it is told to."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("websockets")

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from edge.cli.main import run
from edge.cli.zoo import NANO_FLOW
from robotics.action.wire import pack, unpack
from robotics.policy.checkpoint import load


def test_a_shipped_policy_serves() -> None:
    code = "import sys\nfrom edge.cli.main import run\nsys.exit(run(sys.argv[1:]))"
    told = [sys.executable, "-c", code, "act", "serve", "--model", str(NANO_FLOW), "--port", "0", "--sampler", "flow:2"]
    with subprocess.Popen(told, stderr=subprocess.PIPE, text=True, env=os.environ | {"EDGE_KEY": "k"}) as process:
        assert process.stderr is not None
        found = None
        for line in process.stderr:
            if found := re.search(r"(ws://127\.0\.0\.1:\d+)", line):
                break
        assert found is not None
        with pytest.raises(InvalidStatus, match="401"):
            connect(found[1])
        with connect(found[1], additional_headers={"Authorization": "Api-Key k"}, compression=None) as socket:
            metadata = unpack(bytes(socket.recv()))  # type: ignore[arg-type]
            assert metadata["sampler"] == "flow:2"
            assert metadata["actions"] == [4, 4]
            policy = load(NANO_FLOW)
            state = ((policy.observations.low + policy.observations.high) / 2).numpy()
            socket.send(pack({"state": state}))
            actions = unpack(bytes(socket.recv()))["actions"]  # type: ignore[arg-type]
            assert actions.shape == (4, 4)
            assert np.isfinite(actions).all()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_what_the_way_adds(tmp_path, capsys) -> None:
    assert run(["bench", "transport", "--rounds", "3", "--json", str(tmp_path / "t.json")]) == 0
    told = json.loads((tmp_path / "t.json").read_text())
    by_name = {r["name"]: r["ms_p50"] for r in told["rows"]}
    ways = ("openpi", "rosbridge", "zenoh")
    assert set(by_name) == {f"{way}, {part}" for way in ways for part in ("whole", "policy", "echo", "added")}
    for way in ways:
        assert by_name[f"{way}, whole"] > max(by_name[f"{way}, policy"], by_name[f"{way}, echo"]) > 0
    assert "rosbridge, added" in capsys.readouterr().out
    assert run(["bench", "transport", "--rounds", "0"]) == 2


def test_what_is_refused(capsys, tmp_path) -> None:
    assert run(["act", "serve", "--model", str(tmp_path)]) == 2
    assert "edge policy train" in capsys.readouterr().err
    assert run(["act", "serve", "--sampler", "ddim:4"]) == 2
    assert "flow" in capsys.readouterr().err
    with connect_free() as port:
        assert run(["act", "serve", "--port", str(port)]) == 2
    assert "choose another --port" in capsys.readouterr().err


def connect_free():
    """A port that somebody listens on."""
    import contextlib
    import socket

    @contextlib.contextmanager
    def taken():
        with socket.create_server(("127.0.0.1", 0)) as s:
            yield s.getsockname()[1]

    return taken()


def test_late_chunks_are_measured_and_a_stopped_bench_goes_on(tmp_path, capsys) -> None:
    pytest.importorskip("metaworld")
    pytest.importorskip("matplotlib")
    told = ["bench", "realtime", "--latency-ms", "80", "--merge", "newest", "--episodes", "1", "--sampler", "flow:2"]
    told += ["--workers", "1", "--out", str(tmp_path), "--json", str(tmp_path / "r.json")]
    assert run(told) == 0
    (row,) = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert (row["latency_ms"], row["episodes"], row["merge"]) == (100, 6, "newest")  # rounded up to whole steps
    assert row["success"] >= 0.5
    assert 0 < row["held"] < 0.2
    assert (tmp_path / "realtime.png").stat().st_size > 10_000
    lines = (tmp_path / "episodes.jsonl").read_text()
    (tmp_path / "episodes.jsonl").write_text(lines[: lines.rindex('{"way"') + 30])  # stopped in the middle of a line
    assert run(told) == 0
    (again,) = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert again == row
    capsys.readouterr()
    for wrong in (["--merge", "newer"], ["--episodes", "0"], ["--execute", "16"]):
        assert run([*told, *wrong]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()[-1]) > 20


def test_a_budget_is_measured_and_served_by(tmp_path, capsys) -> None:
    pytest.importorskip("metaworld")
    out = tmp_path / "budget.json"
    assert run(["act", "budget", "--out", str(out), "--choices", "flow:10", "flow:4+taylor:2", "flow:1", "--rounds", "5"]) == 0
    table = json.loads(out.read_text())["choices"]
    assert [(c["sampler"], c["cache"]) for c in table] == [("flow:10", "none"), ("flow:4", "taylor:2"), ("flow:1", "none")]
    assert table[0]["p50_ms"] > table[2]["p50_ms"] > 0
    assert "flow:4+taylor:2" in capsys.readouterr().out
    from edge.cli.act import variants

    policies = variants(load(NANO_FLOW), [(c["sampler"], c["cache"]) for c in table], out)
    assert [len(p.sampler) for p in policies] == [10, 4, 1]
    assert [type(p.cache).__name__ for p in policies][0::2] == ["NoCache", "NoCache"]
    assert type(policies[1].cache).__name__ != "NoCache"
    assert run(["act", "serve", "--budget", str(tmp_path / "none.json"), "--transport", "rosbridge"]) == 2
    assert "edge act budget" in capsys.readouterr().err
