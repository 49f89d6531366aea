"""Errors as OpenAI's clients expect them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge.core.errors import CheckpointError, EdgeError, UnknownNameError


class Refusal(Exception):
    """A request that is answered with an error. status: of HTTP; kind, param and code: OpenAI's `type`, `param` and `code`."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


SAID = {
    "extra_forbidden": "this field is not supported",
    "model_type": "the body must be a JSON object, sent as application/json",
    "missing": "this field is needed",
}
"""Clearer words for some of pydantic's errors."""


def refused(error: EdgeError) -> Refusal:
    """What the engine refuses is the request's fault, but for a checkpoint that is broken."""
    if isinstance(error, CheckpointError):
        return Refusal(str(error), status=500, kind="server_error", code="checkpoint")
    return Refusal(str(error), code="unknown_name" if isinstance(error, UnknownNameError) else None)


def invalid(errors: Sequence[Mapping[str, Any]]) -> Refusal:
    """The first of pydantic's errors about a body. What was sent is not repeated: it may be an image, or no JSON."""
    first = errors[0]
    where = ".".join(str(x) for x in first["loc"])
    said = SAID.get(first["type"], str(first["msg"]))
    return Refusal(f"{where}: {said}" if where else said, param=where or None)
