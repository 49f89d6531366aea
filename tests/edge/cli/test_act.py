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
