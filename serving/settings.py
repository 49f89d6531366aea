"""What a server may do and how much of it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from edge.core.config import Frozen


class ServerSettings(Frozen):
    """Limits and permissions of a server. The defaults let in what a planner sends, and nothing from elsewhere."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    api_key: str | None = Field(default=None, min_length=1)
    """Asked for as a bearer token by all routes but /health, /ready and /."""
    name: str | None = None
    """Of the model in /v1/models; that of its folder by default."""
    waiting: int = Field(default=32, ge=0)
    """Requests that may wait while one runs; more are refused with 503."""
    plan_process: bool = True
    """Plan in a process of its own, with a second copy of the model: nothing that the model does can make a plan's answer late.
    Without it plans share the engine with all other requests."""
    max_body_mb: float = Field(default=64, gt=0)
    max_prompt_chars: int = Field(default=200_000, gt=0)
    max_images: int = Field(default=16, ge=0)
    max_image_mb: float = Field(default=16, gt=0)
    """Of one image as it was sent."""
    max_image_megapixels: float = Field(default=25, gt=0)
    """Of one image decoded: what a small file can grow to."""
    image_dir: Path | None = None
    """Folder from which `file://` images may be read; none by default."""
    image_hosts: tuple[str, ...] = ()
    """Hosts from which images may be fetched; none by default."""
    max_answer_tokens: int = Field(default=16_384, gt=0)
    """Of all choices of a request together: memory is set aside for them."""
