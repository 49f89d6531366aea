"""`edge.client` against a real server."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest

from edge.bench.server import bodies
from edge.cli.zoo import NANO_PLANNER
from edge.client import Client, ServerError
from edge.client.http import data_uri
from edge.core.errors import InputError
from robotics.driving.planner import Planner
from tests.serving.conftest import Running, picture
from tests.serving.conftest import data_uri as pixels_uri
from tests.serving.test_chat import SCHEMA


def test_it_needs_no_torch() -> None:
    code = "import sys, edge.client; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'numpy', 'fastapi')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_chat_stream_and_plan(served: Running, tmp_path) -> None:
    image = base64.b64decode(pixels_uri(picture(1)).split(",")[1])
    (tmp_path / "a.png").write_bytes(image)
    with Client(served.url) as client:
        assert client.ready()
        assert client.models() == ["nano"]
        found = client.chat("Plan.", images=[tmp_path / "a.png"], max_tokens=12, edge={"strategy": "fused"})
        assert found.text == client.chat("Plan.", images=[image], max_tokens=12).text
        assert found.told["strategy"] == "fused"
        assert found.usage.forwards >= 1
        assert "".join(p.text for p in client.stream("Plan.", images=[image], max_tokens=12)) == found.text
        pieces = list(client.stream("Plan.", max_tokens=8, edge={"stream": "canvas"}))
        assert any(p.forward for p in pieces)
        assert client.chat("Plan.", schema=SCHEMA, n=2, temperature=1.0).texts[1].startswith("{")
        _, body = bodies(Planner.load(NANO_PLANNER))["plan"]
        urls = {c["camera"]: c["url"] for c in body["images"]}
        assert client.plan(urls, body["history"], body["nav_command"], request_id="x").request_id == "x"  # type: ignore[attr-defined]


def test_refusals_are_errors_with_a_status(served: Running) -> None:
    with Client(served.url) as client:
        with pytest.raises(ServerError, match="unknown strategy") as e:
            client.chat("x", edge={"strategy": "magic"})
        assert e.value.status == 400
        with pytest.raises(ServerError, match="unknown strategy"):
            list(client.stream("x", edge={"strategy": "magic"}))
        with pytest.raises(InputError, match="PNG"):
            client.chat("x", images=[b"GIF89a"])
        with pytest.raises(InputError, match="cannot be read"):
            data_uri("/nowhere.png")
        with pytest.raises(InputError, match="image_url parts"):
            client.chat([{"role": "user", "content": "x"}], images=[b"BM"])
    with Client("http://127.0.0.1:1") as client:
        assert not client.ready()
        with pytest.raises(ServerError, match="is the server running"):
            client.models()
