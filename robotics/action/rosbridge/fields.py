"""Reading what a client sends."""

from __future__ import annotations

import json
from typing import Any

from edge.core.errors import InputError

Asked = dict[str, Any]


def parsed(message: str | bytes) -> Asked:
    """Raises InputError, one line, for what is no object of JSON."""
    if isinstance(message, bytes):
        raise InputError("message: is binary; send JSON as text")
    try:
        found = json.loads(message)
    except (ValueError, RecursionError) as e:
        raise InputError(f"message of {len(message)} characters: is no JSON ({' '.join(str(e).split())[:80]})") from None
    if not isinstance(found, dict):
        raise InputError(f"message: must be an object with `op`: got {type(found).__name__}")
    return found


def text(asked: Asked, field: str) -> str:
    """Raises InputError for what is no text, or too long a one."""
    found = asked.get(field)
    if not isinstance(found, str) or not 0 < len(found) <= 1000:
        raise InputError(f"{field}: must be a text of 1 to 1000 characters: got {ascii(found)[:40]}")
    return found


def number(asked: Asked, field: str) -> float:
    """0 where it is left out. Raises InputError."""
    found = asked.get(field) or 0
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 1e9:
        raise InputError(f"{field}: must be a number from 0 up: got {ascii(found)[:40]}")
    return found


def whole_kind(name: Any, kind: str) -> str:
    """`pkg/Name` is short for `pkg/msg/Name`."""
    found = str(name)
    return found.replace("/", f"/{kind}/") if found.count("/") == 1 else found
