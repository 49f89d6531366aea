"""`edge serve`: a checkpoint behind OpenAI's interface."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from edge.core.errors import MissingExtraError


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
    image_dir: Path | None = None
    """Folder from which file:// images may be read."""
    image_host: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="HOST")] = ()
    """Host from which images may be fetched; may be given several times."""
    max_image_megapixels: float = 25
    """Largest image, decoded."""
    dtype: str | None = None
    """float32 or bfloat16."""
    threads: int | None = None
    """Threads of torch; its own choice by default."""

    def run(self) -> int:
        try:
            from serving.run import serve
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
            image_dir=self.image_dir,
            image_hosts=self.image_host,
            max_image_megapixels=self.max_image_megapixels,
        )
        return serve(self.model, settings, dtype=self.dtype, threads=self.threads)
