"""Bodies of requests: read at once into their description, and described for OpenAPI.

FastAPI would read JSON into dictionaries first, and resolve dependencies that no route here has: half a millisecond a request.
"""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from pydantic import ValidationError

from serving.wire.chat import Wire
from serving.wire.errors import Refusal, invalid

W = TypeVar("W", bound=Wire)
SCHEMAS = "#/components/schemas/{model}"
"""Where OpenAPI keeps descriptions."""
JSON = "application/json"


async def read(request: Request, form: type[W]) -> W:
    """The body as a `form`. Raises Refusal for whatever it is not; HTTPException while reading passes."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    data = await request.body()
    if kind != JSON:
        raise Refusal("the body must be a JSON object, sent as application/json")
    try:
        return form.model_validate_json(data)
    except ValidationError as e:
        raise invalid(e.errors(include_url=False, include_context=False, include_input=False)) from None


def described(form: type[Wire]) -> dict[str, Any]:
    """What a route says of its body in OpenAPI."""
    return {"requestBody": {"required": True, "content": {JSON: {"schema": {"$ref": SCHEMAS.format(model=form.__name__)}}}}}


def components(*forms: type[Wire]) -> dict[str, Any]:
    """Descriptions of bodies and of what they are made of, by name."""
    out: dict[str, Any] = {}
    for form in forms:
        schema = form.model_json_schema(ref_template=SCHEMAS)
        out |= schema.pop("$defs", {}) | {form.__name__: schema}
    return out
