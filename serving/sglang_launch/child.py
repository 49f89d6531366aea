"""The server as a child process: started, waited for, checked for the plug-in, watched, and started again when it dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from edge.core.errors import EdgeError

REPORT = "EDGE_SGLANG_REPORT"
"""Environment variable that the plug-in writes its registrations to (`serving.sglang_plugin.host.plugin.REPORT`)."""
LEASH = "EDGE_SGLANG_LEASH"
"""Environment variable of the file by which the server notices that this process is gone (`serving.sglang_plugin.leash.LEASH`)."""
PROCESSES = 2
"""Registrations that there have to be at least: the HTTP server's and one scheduler's."""
POLL_S = 0.5
PATIENCE_S = 30.0
"""How long one probe waits for its answer."""


class LaunchError(EdgeError):
    """A server that did not start, or runs without the plug-in."""


class Child:
    """One server. Thread-safe: a thread of its own watches the process.

    restarts: times that it was started again after it had died; error: why it was given up, None while it was not.
    """

    def __init__(self, command: Sequence[str], port: int, *, host: str = "127.0.0.1", log: str | Path | None = None) -> None:
        self.command, self.url = list(command), f"http://{host}:{port}"
        self._folder = tempfile.TemporaryDirectory(prefix="edge-sglang-")
        self.log = Path(log) if log is not None else Path(self._folder.name) / "server.log"
        self.restarts = 0
        self.error: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._leash: int | None = None
        self._watch: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def ready(self) -> bool:
        """Whether the server runs, answers, and decodes with the plug-in."""
        return self._ready.is_set() and self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and return at once. Raises LaunchError when it was started before."""
        if self._watch is not None:
            raise LaunchError("this server was started before; make another Child")
        self._spawn()
        self._watch = threading.Thread(target=self._watched, name="edge-sglang-watch", daemon=True)
        self._watch.start()

    def wait(self, timeout_s: float = 600.0) -> None:
        """Block until the server is ready. Raises LaunchError when it is given up, or not ready in time."""
        end = time.monotonic() + timeout_s
        while not self.ready:
            if self.error is not None:
                raise LaunchError(self.error)
            if time.monotonic() > end:
                raise LaunchError(f"the SGLang server is not ready after {timeout_s:.0f} s; its log is {self.log}")
            time.sleep(0.1)

    def stop(self, grace_s: float = 10.0) -> None:
        """End the server and all its processes."""
        self._stopping.set()
        self._ready.clear()
        self._end(grace_s)
        if self._watch is not None and self._watch is not threading.current_thread():
            self._watch.join(timeout=grace_s)
        self._folder.cleanup()

    def __enter__(self) -> Child:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- the process ------------------------------------------------------------------------------------------------------

    @property
    def _report(self) -> Path:
        return Path(self._folder.name) / f"registered.{self.restarts}"

    def _spawn(self) -> None:
        with self._lock:
            if self._stopping.is_set():
                return
            reading, writing = os.pipe()
            try:
                with self.log.open("ab") as out:
                    self._process = subprocess.Popen(
                        self.command,
                        stdout=out,
                        stderr=subprocess.STDOUT,
                        stdin=subprocess.DEVNULL,
                        env={**os.environ, REPORT: str(self._report), LEASH: str(reading)},
                        pass_fds=(reading,),
                        start_new_session=True,  # a group of its own, so that its schedulers end with it
                    )
            except OSError as e:
                os.close(writing)
                raise LaunchError(f"{self.command[0]}: cannot be started ({e})") from None
            finally:
                os.close(reading)
            self._let_go()
            self._leash = writing

    def _let_go(self) -> None:
        if self._leash is not None:
            os.close(self._leash)
        self._leash = None

    def _end(self, grace_s: float) -> None:
        with self._lock:
            process = self._process
            if process is None:
                return
            _signal(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
            _signal(process.pid, signal.SIGKILL)
            process.wait()
            self._let_go()

    # --- watching ---------------------------------------------------------------------------------------------------------

    def _watched(self) -> None:
        while not self._stopping.is_set() and self.error is None:
            assert self._process is not None
            if self._process.poll() is not None:
                self._died()
            elif not self._ready.is_set():
                self._look()
            self._stopping.wait(POLL_S)

    def _look(self) -> None:
        if not self._answers("/health"):
            return
        if (count := self._registered()) < PROCESSES:
            self._give_up(f"the SGLang server runs without the plug-in ({count} of its processes registered it); its log says why")
            self._end(0.0)
            return
        self._ready.set()

    def _died(self) -> None:
        assert self._process is not None
        status, was_ready = self._process.returncode, self._ready.is_set()
        self._ready.clear()
        self._end(0.0)  # a killed server may leave schedulers behind, and they hold memory
        if self._stopping.is_set():
            return
        if not was_ready:
            self._give_up(f"the SGLang server ended with status {status} before it was ready")
            return
        self.restarts += 1
        self._spawn()

    def _give_up(self, why: str) -> None:
        tail = [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()][-1:]
        self.error = f"{why}; log {self.log}" + (f", last line: {tail[0][:300]}" if tail else "")

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(self.url + path, timeout=PATIENCE_S) as reply:
                return reply.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def _registered(self) -> int:
        """Processes that reported the plug-in's registration."""
        if not self._report.exists():
            return 0
        lines = self._report.read_text(encoding="utf-8").splitlines()
        return len({json.loads(line)["pid"] for line in lines})


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
