"""Bodies of requests: read at once into their description, and described for OpenAPI.

FastAPI would read JSON into dictionaries first, and resolve dependencies that no route here has: half a millisecond a request.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from serving.wire.errors import Refusal, invalid

W = TypeVar("W", bound=BaseModel)
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


def described(form: type[BaseModel]) -> dict[str, Any]:
    """JSON of this form, in OpenAPI's words."""
    return {JSON: {"schema": {"$ref": SCHEMAS.format(model=form.__name__)}}}


def components(form: type[BaseModel], mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    """Descriptions of a form and of what it is made of, by name."""
    schema = form.model_json_schema(ref_template=SCHEMAS, mode=mode)
    return schema.pop("$defs", {}) | {form.__name__: schema}
