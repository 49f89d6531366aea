"""`edge bench server`: what the server adds to an engine call, and how it bears more clients than it can serve.

What it adds is measured side by side: the same request as a call of the library in this process, and over loopback to a server.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from edge.bench import record
from edge.bench.loopback import ECHO_S, LONG_S, READY_S, Client, Library, Plain, echoing, started
from edge.core.errors import CheckpointError
from edge.core.progress import progress
from robotics.driving.demo import demo_window
from robotics.driving.evaluate import sample
from robotics.driving.planner import Planner
from robotics.driving.scene import CAMERAS
from robotics.driving.service.process import ProcessBackend
from robotics.driving.service.proposing import Backend
from robotics.driving.service.request import PlanRequest
from robotics.driving.service.service import PlannerService
from serving import images
from serving.generating import asked
from serving.settings import ServerSettings
from serving.wire.chat import ChatRequest

CHAT = "/v1/chat/completions"
CALL = "library"
"""The way of a request that is no request: a call in this process."""


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


Told = Callable[[], float]
"""Does a request, and says how many milliseconds of it were the engine's."""


def calls(planner: Planner, backend: Backend, requests: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Told]:
    """The same requests as calls of the library, by name: what a program that holds the engine itself would write, with its
    pictures decoded already. A plan is a call of the planner service over `backend`, which checks what the engine says.
    """
    engine, settings = planner.engine, ServerSettings()
    engine.reuse = True
    out: dict[str, Told] = {}
    for name, (route, body) in requests.items():
        if route == CHAT:
            what = asked(ChatRequest.model_validate(body), settings)
            generate = partial(engine.generate, what.prompt, images=[_decoded(url) for url in what.urls], **what.arguments)
            out[name] = lambda generate=generate: generate().timings["total"]
        else:
            fields = {k: v for k, v in body.items() if k != "images"}
            pictures = tuple(np.asarray(_decoded(i["url"])) for i in body["images"])
            plan = partial(PlannerService(backend).plan, PlanRequest(**fields, images=pictures))
            out[name] = lambda plan=plan: plan().timings["total"]
    return out


def _decoded(url: str) -> Image.Image:
    image = images.read(url, ServerSettings(), 0)
    image.load()
    return image


def asking(client: Client, name: str, route: str, body: bytes) -> Told:
    """The same request to a server."""

    def ask() -> float:
        status, data = client.post(route, body)
        told = json.loads(data)
        if status != 200:
            raise CheckpointError(f"the server answered {name!r} with {status}: {told['error']['message']}")
        return (told["timings"] if "timings" in told else told["edge"]["timings"])["total"]

    return ask


def added(
    url: str, requests: dict[str, tuple[str, dict[str, Any]]], library: dict[str, Told], rounds: int, show: bool = True
) -> list[dict[str, Any]]:
    """What the server adds to each request: its milliseconds at a client on loopback less those of the same call in this process,
    the engine's own taken out of both, for these are many and vary.

    One after the other, interleaved, after one round that is not counted. Rows: each request by each client; "echo": what a process
    that only sleeps and replies adds to sleeping; "decoding": the pictures of a request, which the engine decodes: part of its
    milliseconds, and named for whoever counts it as the server's.
    """
    with contextlib.ExitStack() as stack:
        clients: dict[str, Client] = {
            "lean": Plain(url.removeprefix("http://")),
            "http.client": Library(url.removeprefix("http://")),
        }
        echo = Plain(stack.enter_context(echoing()))
        for client in (*clients.values(), echo):
            stack.callback(client.close)
        ways: dict[tuple[str, str], Told] = {}
        for name, (route, body) in requests.items():
            ways[name, CALL] = library[name]
            ways |= {(name, key): asking(client, name, route, json.dumps(body).encode()) for key, client in clients.items()}
        ways["echo", CALL] = lambda: time.sleep(ECHO_S) or ECHO_S * 1e3
        ways["echo", "lean"] = lambda: echo.post("/", b"x" * 300) and ECHO_S * 1e3
        pictures = [i["url"] for _, body in requests.values() for i in body.get("images", ())]
        ways["decoding", CALL] = lambda: sum(0 * _decoded(url).width for url in pictures)
        spent: dict[tuple[str, str], list[tuple[float, float]]] = {way: [] for way in ways}
        for n in progress(range(rounds + 1), rounds + 1, "asking", show):
            for way in sorted(ways, reverse=bool(n % 2)):
                start = time.perf_counter()
                engine = ways[way]()
                spent[way] += [((time.perf_counter() - start) * 1e3, engine)] if n else []
    return [_added_row(*way, np.array(found), np.array(spent[way[0], CALL])) for way, found in spent.items()]


def _added_row(name: str, way: str, ms: np.ndarray, call: np.ndarray) -> dict[str, Any]:
    """ms: [n, 2], of the whole request and of its engine; call: the same of the library."""
    over = ms[:, 0] - ms[:, 1]
    row = {
        "name": name,
        "way": way,
        "requests": len(ms),
        "ms_p50": float(np.median(ms[:, 0])),
        "engine_ms_p50": float(np.median(ms[:, 1])),
        "over_engine_ms_p50": float(np.median(over)),
        "over_engine_ms_iqr": float(np.subtract(*np.percentile(over, [75, 25]))),
        "over_engine_ms_p99": float(np.percentile(over, 99)),
    }
    return row if way == CALL else row | {"added_ms_p50": float(np.median(over) - np.median(call[:, 0] - call[:, 1]))}


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
    if threads is not None:
        torch.set_num_threads(threads)
    planner = Planner.load(model)
    requests = bodies(planner)
    backend = ProcessBackend.beside(planner)  # as the server has it
    if not backend.wait(READY_S):
        raise CheckpointError(f"the planner of {model} did not get ready: {backend.error}")
    arguments = ["--waiting", str(waiting), *([] if threads is None else ["--threads", str(threads)])]
    with started(model, *arguments) as (url, pid):
        rows = added(url, requests, calls(planner, backend, requests), rounds)
        if clients:
            rows.append(load(url, pid, requests, clients, seconds))
    backend.close()
    return record.report("server", rows, model=str(model), waiting=waiting)


def show(result: dict[str, Any]) -> None:
    """Two tables: what is added, and what load does."""
    console = Console(file=sys.stdout, width=160)
    heads = ("ms p50", "of them the engine", "over it p50", "iqr", "p99", "added by the server, p50")
    table = Table("request", "way", *heads, title="what the server adds to a call of the library, milliseconds")
    keys = ("ms_p50", "engine_ms_p50", "over_engine_ms_p50", "over_engine_ms_iqr", "over_engine_ms_p99", "added_ms_p50")
    for r in (r for r in result["rows"] if "way" in r):
        table.add_row(r["name"], r["way"], *(f"{r[k]:.2f}" if k in r else "" for k in keys))
    console.print(table)
    for r in (r for r in result["rows"] if "statuses" in r):
        console.print(
            f"{r['name']}, {r['seconds']:.0f} s, {result['waiting']} may wait: {r['statuses']}, {r['unanswered']} unanswered, "
            f"{r['per_s']:.1f} answers/s, p50 {r['ms_p50']:.0f} ms, p99 {r['ms_p99']:.0f} ms, "
            f"memory {r['resident_mb']:.0f} MiB, {r['resident_growth_mb']:+.1f} since a quarter of the time"
        )
