"""`edge bench server`: what the server adds to an engine call, and how it bears more clients than it can serve.

The server is a process of its own, started as users start it. What it adds to a request is the client's time on loopback less the
milliseconds that the reply gives for the engine's call, or, of a plan, for that of the planner service.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from edge.bench import record
from edge.bench.progress import progress
from edge.core.errors import CheckpointError
from robotics.driving.demo import demo_window
from robotics.driving.evaluate import sample
from robotics.driving.planner import Planner
from robotics.driving.scene import CAMERAS

READY_S = 180
CHAT = "/v1/chat/completions"
LONG_S = 120.0


@contextlib.contextmanager
def started(model: Path, *arguments: str) -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its address and process id. Raises CheckpointError when it does not get ready."""
    command = [sys.executable, "-c", "from edge.cli import main; main()", "serve", "--model", str(model), "--port", "0", *arguments]
    with tempfile.NamedTemporaryFile("w+", prefix="edge-server-", suffix=".log") as log:
        child = subprocess.Popen(command, stderr=log)
        try:
            end = time.monotonic() + READY_S
            while not (url := _ready(Path(log.name).read_text())):
                if time.monotonic() > end or child.poll() is not None:
                    last = Path(log.name).read_text().strip().splitlines()[-1:]
                    raise CheckpointError(f"the server of {model} did not get ready: {''.join(last)}")
                time.sleep(0.1)
            yield url, child.pid
        finally:
            child.terminate()
            child.wait(timeout=30)


def _ready(log: str) -> str | None:
    """The address in a server's log, once it is ready."""
    found = re.search(r" at (http://\S+)", log)
    if found is None:
        return None
    try:
        return found[1] if httpx.get(f"{found[1]}/ready").status_code == 200 else None
    except httpx.ConnectError:
        return None


def bodies(planner: Planner) -> dict[str, tuple[str, dict[str, Any]]]:
    """Requests by name: route and body."""
    s = sample(demo_window(0), planner.config.image_size)
    urls = [_data_uri(np.asarray(image)) for image in s.images]
    text = {"messages": [{"role": "user", "content": "Plan the next five seconds."}], "max_tokens": 32}
    schema = {
        "type": "object",
        "properties": {"turn": {"enum": ["left", "right", "none"]}, "speed": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["turn", "speed"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    parts = [*({"type": "image_url", "image_url": {"url": u}} for u in urls), {"type": "text", "text": "Plan."}]
    plan = {
        "images": [{"camera": c, "url": u} for c, u in zip(CAMERAS, urls, strict=True)],
        "history": s.history.model_dump(mode="json"),
        "nav_command": s.command,
    }
    return {
        "text": (CHAT, text),
        "schema": (CHAT, {**text, "response_format": form}),
        "images": (CHAT, {"messages": [{"role": "user", "content": parts}], "max_tokens": 32}),
        "plan": ("/v1/plan", plan),
    }


def _data_uri(pixels: np.ndarray) -> str:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


class Plain:
    """A client that adds next to nothing of its own: one connection, replies of a known length. Of the libraries, httpx takes
    0.4 ms a request and http.client 0.2, which would be counted as the server's.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.partition(":")
        self._host = address
        self._socket = socket.create_connection((host, int(port)), timeout=LONG_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, route: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the reply."""
        head = (
            f"POST {route} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + body)
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._more()
        length = re.search(rb"content-length: (\d+)", got[:end], re.IGNORECASE)
        if length is None:
            raise CheckpointError(f"the server's reply does not say how long it is: {got[:200]!r}")
        while len(got) < end + 4 + int(length[1]):
            got += self._more()
        return int(got.split(b" ", 2)[1]), got[end + 4 :]

    def _more(self) -> bytes:
        if not (data := self._socket.recv(1 << 16)):
            raise CheckpointError("the server closed the connection in the middle of a reply")
        return data

    def close(self) -> None:
        self._socket.close()


def added(url: str, requests: dict[str, tuple[str, dict[str, Any]]], rounds: int, show: bool = True) -> list[dict[str, Any]]:
    """What the server adds to each request, one after the other, interleaved, after one round that is not counted."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in requests}
    bodies = {name: json.dumps(body).encode() for name, (_, body) in requests.items()}
    client = Plain(url.removeprefix("http://"))
    for n in progress(range(rounds + 1), rounds + 1, "asking", show):
        for name, (route, _) in requests.items():
            start = time.perf_counter()
            status, data = client.post(route, bodies[name])
            ms = (time.perf_counter() - start) * 1e3
            told = json.loads(data)
            if status != 200:
                raise CheckpointError(f"the server answered {name!r} with {status}: {told['error']['message']}")
            if n:
                # a plan is a call of the planner service, which checks what the engine says, with a server or without
                call_ms = told["timing"]["total_ms"] if "timing" in told else told["edge"]["timings"]["total"]
                spent[name].append((ms, call_ms))
    client.close()
    return [_added_row(name, np.array(found)) for name, found in spent.items()]


def _added_row(name: str, ms: np.ndarray) -> dict[str, Any]:
    """ms: [n, 2], of the client and of the engine."""
    more = ms[:, 0] - ms[:, 1]
    return {
        "name": name,
        "requests": len(ms),
        "ms_p50": float(np.median(ms[:, 0])),
        "engine_ms_p50": float(np.median(ms[:, 1])),
        "added_ms_p50": float(np.median(more)),
        "added_ms_iqr": float(np.subtract(*np.percentile(more, [75, 25]))),
        "added_ms_p99": float(np.percentile(more, 99)),
    }


def load(url: str, pid: int, requests: dict[str, tuple[str, dict[str, Any]]], clients: int, seconds: float) -> dict[str, Any]:
    """So many clients, each asking again as soon as it has its answer; one that is refused waits as long as it is told to."""
    found: list[tuple[int, float]] = []
    wrong: list[str] = []
    end = time.monotonic() + seconds
    names = list(requests)

    def ask(number: int) -> None:
        with httpx.Client(base_url=url, timeout=LONG_S) as client:
            turn = number
            while time.monotonic() < end:
                route, body = requests[names[turn % len(names)]]
                turn += 1
                start = time.perf_counter()
                try:
                    reply = client.post(route, json=body)
                except httpx.HTTPError as e:
                    wrong.append(type(e).__name__)
                    continue
                found.append((reply.status_code, (time.perf_counter() - start) * 1e3))
                if reply.status_code == 503:
                    time.sleep(min(float(reply.headers["retry-after"]), max(0.0, end - time.monotonic())))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(clients)]
    for t in threads:
        t.start()
    memory = []
    while any(t.is_alive() for t in threads):
        memory.append(resident_mb(pid))
        time.sleep(min(1.0, seconds / 20))
    answered = np.array([ms for status, ms in found if status == 200])
    settled = memory[len(memory) // 4 :]
    return {
        "name": f"{clients} clients",
        "seconds": seconds,
        "requests": len(found),
        "statuses": dict(Counter(str(s) for s, _ in found)),
        "unanswered": len(wrong),
        "per_s": len(answered) / seconds,
        "ms_p50": float(np.median(answered)),
        "ms_p99": float(np.percentile(answered, 99)),
        "resident_mb": memory[-1],
        "resident_growth_mb": max(settled[-1:]) - settled[0] if settled else 0.0,
    }


def resident_mb(pid: int) -> float:
    """Resident memory of a process, where /proc tells."""
    statm = Path(f"/proc/{pid}/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if statm.exists() else float("nan")


def bench(model: Path, rounds: int, clients: int, seconds: float, waiting: int, threads: int | None) -> dict[str, Any]:
    """Both measurements, on one server."""
    requests = bodies(Planner.load(model))
    arguments = ["--waiting", str(waiting), *([] if threads is None else ["--threads", str(threads)])]
    with started(model, *arguments) as (url, pid):
        rows = added(url, requests, rounds)
        if clients:
            rows.append(load(url, pid, requests, clients, seconds))
    return record.report("server", rows, model=str(model), waiting=waiting)


def show(result: dict[str, Any]) -> None:
    """Two tables: what is added, and what load does."""
    console = Console(file=sys.stdout, width=160)
    table = Table("", "ms p50", "engine ms p50", "added ms p50", "iqr", "p99", title="what the server adds to an engine call")
    for r in (r for r in result["rows"] if "added_ms_p50" in r):
        keys = ("ms_p50", "engine_ms_p50", "added_ms_p50", "added_ms_iqr", "added_ms_p99")
        table.add_row(r["name"], *(f"{r[k]:.2f}" for k in keys))
    console.print(table)
    for r in (r for r in result["rows"] if "statuses" in r):
        console.print(
            f"{r['name']}, {r['seconds']:.0f} s, {result['waiting']} may wait: {r['statuses']}, {r['unanswered']} unanswered, "
            f"{r['per_s']:.1f} answers/s, p50 {r['ms_p50']:.0f} ms, p99 {r['ms_p99']:.0f} ms, "
            f"memory {r['resident_mb']:.0f} MiB, {r['resident_growth_mb']:+.1f} since a quarter of the time"
        )
