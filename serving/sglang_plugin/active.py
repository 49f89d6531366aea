"""What this process of the server decodes. A server has one model, and its hooks are plain functions, so it is kept here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serving.sglang_plugin.checkpoint import Checkpoint
from serving.sglang_plugin.lineage import Lineage

ATTRIBUTE = "edge_lineage"
_checkpoint: Checkpoint | None = None
_key: Any = None


def use(key: Any, make: Callable[[], Checkpoint]) -> Checkpoint:
    """The checkpoint of `key`, made when it is another than the last: SGLang reads its configuration again and again."""
    global _checkpoint, _key
    if _checkpoint is not None and key == _key:
        return _checkpoint
    made = make()
    _checkpoint, _key = made, key
    return made


def checkpoint() -> Checkpoint:
    if _checkpoint is None:
        raise RuntimeError("internal error: the server's configuration was not read before its first request")
    return _checkpoint


def lineage(request: Any) -> Lineage:
    """The lineage that a request was accepted with."""
    return getattr(request, ATTRIBUTE)
