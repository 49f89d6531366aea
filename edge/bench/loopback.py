"""A server in a process of its own, started as users start it, two clients to ask it on loopback, and an echo to compare with."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import httpx

from edge.core.errors import CheckpointError

READY_S = 180
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


class Client(Protocol):
    """One connection to a server."""

    def post(self, route: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the reply."""
        ...

    def close(self) -> None: ...


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


class Library:
    """Python's own client on one connection that is kept open."""

    def __init__(self, address: str) -> None:
        host, _, port = address.partition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=LONG_S)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, route: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the reply."""
        self._connection.request("POST", route, body, {"content-type": "application/json"})
        reply = self._connection.getresponse()
        return reply.status, reply.read()

    def close(self) -> None:
        self._connection.close()


ECHO_S = 0.02
"""How long the echo sleeps, as an engine would compute."""


@contextlib.contextmanager
def echoing() -> Iterator[str]:
    """The address of a process that reads a request, sleeps, and replies: what the machine takes where there is no server."""
    child = subprocess.Popen([sys.executable, "-c", "from edge.bench.loopback import echo; echo()"], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        yield f"127.0.0.1:{int(child.stdout.readline())}"
    finally:
        child.kill()
        child.wait()


def echo() -> None:
    """Answer one client, whose requests come in one piece each, until it leaves."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        client, _ = listening.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reply = b"x" * 1000
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(reply)}\r\n\r\n".encode()
    while client.recv(1 << 16):
        time.sleep(ECHO_S)
        client.sendall(head + reply)
