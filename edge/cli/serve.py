"""`edge serve`: a checkpoint behind OpenAI's interface."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

from edge.core.errors import InputError, MissingExtraError


@dataclass(frozen=True)
class Serve:
    """Serve a checkpoint: /v1/chat/completions, /v1/completions, /v1/plan, a page to try it at /."""

    model: Path
    """Checkpoint folder."""
    host: str = "127.0.0.1"
    """Address to listen at; others than loopback let others in: give a key then."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""
    api_key: str | None = None
    """Bearer token that clients have to send; also read from EDGE_API_KEY."""
    name: str | None = None
    """Of the model, as clients call it; that of its folder by default."""
    waiting: int = 32
    """Requests that may wait while one runs."""
    plan_process: bool = True
    """Plan in a process of its own, with a second copy of the model: nothing that the model does makes an answer late."""
    image_dir: Path | None = None
    """Folder from which file:// images may be read."""
    image_host: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="HOST")] = ()
    """Host from which images may be fetched; may be given several times."""
    max_image_megapixels: float = 25
    """Largest image, decoded."""
    backend: Literal["embedded", "sglang"] = "embedded"
    """embedded: one sequence at a time, nothing else to install; sglang: many, by an SGLang server with our plug-in."""
    profile: str = "cpu"
    """Kind of machine that SGLang runs on: cpu, cuda-bf16, cuda-fp8, jetson-thor."""
    tp: int = 1
    """GPUs that share one model, with SGLang."""
    dp: int = 1
    """Copies of the model, with SGLang."""
    sglang_option: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="OPTION")] = ()
    """Passed through to sglang.launch_server, such as --sglang-option=--mem-fraction-static=0.5; may be given several times."""
    sglang_log: Path | None = None
    """File for SGLang's log."""
    dry_run: bool = False
    """Print the command line that would start SGLang, and do nothing."""
    dtype: str | None = None
    """float32 or bfloat16; of the embedded engine (SGLang's is its profile's)."""
    threads: int | None = None
    """Threads of torch; its own choice by default."""

    def run(self) -> int:
        try:
            from serving.run import serve, serve_sglang
        except ModuleNotFoundError as e:
            raise MissingExtraError(str(e.name), "serve", "edge serve") from None
        import os

        from edge.core.config import checked
        from serving.settings import ServerSettings

        settings = checked(
            ServerSettings,
            "edge serve",
            host=self.host,
            port=self.port,
            api_key=self.api_key or os.environ.get("EDGE_API_KEY"),
            name=self.name,
            waiting=self.waiting,
            plan_process=self.plan_process,
            image_dir=self.image_dir,
            image_hosts=self.image_host,
            max_image_megapixels=self.max_image_megapixels,
        )
        if self.dry_run and self.backend != "sglang":
            raise InputError("--dry-run prints the command line of SGLang: give --backend sglang")
        if self.backend == "sglang":
            options = [*self.sglang_option]
            for name, count in (("--tp", self.tp), ("--dp", self.dp)):
                options += [] if count == 1 else [name, str(count)]
            return serve_sglang(
                self.model, settings, profile=self.profile, extra=options, log_file=self.sglang_log, dry_run=self.dry_run
            )
        return serve(self.model, settings, dtype=self.dtype, threads=self.threads)
