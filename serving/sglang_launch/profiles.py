"""Launch profiles: small data, one per kind of machine (`profiles.toml` beside this file)."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from pydantic import Field

from edge.core.config import Frozen
from edge.core.errors import UnknownNameError


class Profile(Frozen):
    """env: environment of the server; options: of `sglang.launch_server`, without dashes, true for a flag alone; quantize_at_load:
    `--quantization` for checkpoints that say no scheme of their own."""

    name: str
    note: str
    env: dict[str, str] = Field(default_factory=dict)
    options: dict[str, str | bool | int | float] = Field(default_factory=dict)
    quantize_at_load: str | None = None


@cache
def profiles() -> dict[str, Profile]:
    text = files("serving.sglang_launch").joinpath("profiles.toml").read_text(encoding="utf-8")
    return {name: Profile(name=name, **data) for name, data in tomllib.loads(text).items()}


def profile(name: str) -> Profile:
    """Raises UnknownNameError."""
    known = profiles()
    if name not in known:
        raise UnknownNameError("profile", name, known)
    return known[name]
