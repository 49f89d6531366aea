"""The command line of every profile, and a child that is started, checked, watched and ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.core.errors import EdgeError, UnknownNameError, UnsupportedError
from serving.sglang_launch import Child, LaunchError, command, printable, profiles
from serving.sglang_launch.command import PYTHON, interpreter
from serving.sglang_plugin.checkpoint import Serving

NANO = "edge/zoo/nano-planner"

SERVER = """
import http.server, json, os, sys, threading
port, registered = int(sys.argv[1]), int(sys.argv[2])
with open(os.environ["EDGE_SGLANG_REPORT"], "a") as f:
    for n in range(registered):
        f.write(json.dumps({"pid": n, "algorithms": []}) + "\\n")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def child(registered: int = 3, code: str = SERVER) -> Child:
    port = free_port()
    return Child([sys.executable, "-c", code, str(port), str(registered)], port)


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


@pytest.mark.parametrize("name", sorted(profiles()))
def test_a_profile_gives_a_whole_command(name: str) -> None:
    line = command(name, NANO, 30001, ["--tp", "2"], serving=Serving(block_size=20), python="/opt/sglang/bin/python")
    assert line[0] == "env"
    at = line.index("/opt/sglang/bin/python")
    assert line[at + 1 : at + 3] == ["-m", "sglang.launch_server"]
    assert line[-2:] == ["--tp", "2"]
    override = json.loads(line[line.index("--json-model-override-args") + 1])
    assert override == {"architectures": ["EdgeQwen2_5_VLForConditionalGeneration"], "edge_serving": {"block_size": 20}}
    assert line[line.index("--dllm-algorithm") + 1] == "EdgeSelfSpec"
    assert "--no-dllm-fdfo" in line
    assert '\'{"architectures"' in printable(line)


def test_a_checkpoint_of_its_own_scheme_is_not_quantized_again(tmp_path: Path) -> None:
    assert "--quantization" in command("cuda-fp8", NANO, 1, python="python")
    shutil.copy(f"{NANO}/config.json", tmp_path)
    (tmp_path / "hf_quant_config.json").write_text("{}", encoding="utf-8")
    assert "--quantization" not in command("cuda-fp8", tmp_path, 1, python="python")


def test_what_cannot_be_served_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'cpu'"):
        command("cpuu", NANO, 1, python="python")
    config = json.loads(Path(NANO, "config.json").read_text(encoding="utf-8"))
    for change, says in (
        ({"architectures": ["LlavaForConditionalGeneration"]}, "embedded engine"),
        ({"block_diffusion": config["block_diffusion"] | {"prompt": "full", "commit": "none", "causal_mode": False}}, "LaViDa"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
        with pytest.raises(UnsupportedError, match=says):
            command("cpu", tmp_path, 1, python="python")


def test_the_interpreter_is_said_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON, "/elsewhere/python")
    assert interpreter() == "/elsewhere/python"


def test_a_child_becomes_ready_and_ends() -> None:
    with child() as c:
        c.wait(30)
        assert c.ready
        pid = c.pid
        assert pid is not None
    assert not c.ready
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_child_is_noticed_and_started_again() -> None:
    with child() as c:
        c.wait(30)
        first = c.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: not c.ready)
        until(lambda: c.ready)
        assert c.restarts == 1
        assert c.pid != first


def test_a_server_without_the_plugin_is_given_up() -> None:
    with child(registered=0) as c, pytest.raises(LaunchError, match="without the plug-in"):
        c.wait(30)


def test_a_server_that_ends_early_is_given_up_with_its_last_words() -> None:
    with (
        child(code="raise SystemExit('Unknown diffusion LLM algorithm')") as c,
        pytest.raises(LaunchError, match="Unknown diffusion"),
    ):
        c.wait(30)
    assert c.restarts == 0


def test_a_command_that_does_not_exist_is_one_line() -> None:
    with pytest.raises(EdgeError, match="cannot be started"):
        Child(["/no/such/program"], 1).start()
