"""Bodies of requests: read at once into their description, and described for OpenAPI.

FastAPI would read JSON into dictionaries first, and resolve dependencies that no route here has: half a millisecond a request.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.types import Receive, Scope

from serving.wire.errors import Refusal, invalid
from serving.worker import Gone

W = TypeVar("W", bound=BaseModel)
SCHEMAS = "#/components/schemas/{model}"
"""Where OpenAPI keeps descriptions."""
JSON = "application/json"


async def read(scope: Scope, receive: Receive, form: type[W]) -> W:
    """The body as a `form`. Raises Refusal for whatever it is not, Gone when the client leaves, and what `receive` raises."""
    data = await _received(receive)
    kind = next((v for k, v in scope["headers"] if k == b"content-type"), b"")
    if kind.partition(b";")[0].strip().lower() != JSON.encode():
        raise Refusal("the body must be a JSON object, sent as application/json")
    try:
        return form.model_validate_json(data)
    except ValidationError as e:
        raise invalid(e.errors(include_url=False, include_context=False, include_input=False)) from None


async def _received(receive: Receive) -> bytes:
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def described(form: type[BaseModel]) -> dict[str, Any]:
    """JSON of this form, in OpenAPI's words."""
    return {JSON: {"schema": {"$ref": SCHEMAS.format(model=form.__name__)}}}


def components(form: type[BaseModel], mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    """Descriptions of a form and of what it is made of, by name."""
    schema = form.model_json_schema(ref_template=SCHEMAS, mode=mode)
    return schema.pop("$defs", {}) | {form.__name__: schema}
