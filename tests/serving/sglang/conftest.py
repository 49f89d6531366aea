"""Real servers, one per algorithm for the whole session. Skipped, and said so, where SGLang is not installed."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = importlib.util.find_spec("sglang") is not None
WHY = "sglang is not installed here: `make test-sglang` builds an environment with it and runs these"
FULL = os.environ.get("EDGE_CASES") == "full"
NANO = Path(__file__).parents[3] / "edge" / "zoo" / "nano-planner"
BLOCK = 32

if not HERE:
    collect_ignore_glob = ["test_*.py"]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def served(model: Path, log: Path, algorithm: str | None = None, extra: tuple[str, ...] = (), **serving: Any) -> Any:
    """A started server, not yet ready."""
    from serving.sglang_launch import Child, command
    from serving.sglang_plugin.checkpoint import Serving

    port = free_port()
    line = command("cpu", model, port, extra, algorithm=algorithm, serving=Serving(**serving))
    child = Child(line, port, log=log)
    child.start()
    return child


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def server(logs: Path) -> Iterator[Any]:
    """The nano planner under EdgeSelfSpec, in float32."""
    child = served(NANO, logs / "self-spec.log", block_size=BLOCK, extra=("--skip-server-warmup",))
    try:
        child.wait(600)
        yield child
    finally:
        child.stop()


@pytest.fixture(scope="session")
def client(server: Any) -> Any:
    return openai_client(server)


def openai_client(child: Any) -> Any:
    import openai

    return openai.OpenAI(base_url=f"{child.url}/v1", api_key="none", timeout=300, max_retries=0)


@pytest.fixture(scope="session")
def engine() -> Any:
    import edge

    return edge.load(NANO, dtype="float32")
