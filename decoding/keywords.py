"""Keywords of JSON Schema: which are read, how a schema outside of them is refused, and its values as JSON has them."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

from edge.core.errors import InputError

ANNOTATIONS = frozenset(
    {"$schema", "$id", "$comment", "$defs", "definitions", "title", "description"}
    | {"default", "examples", "deprecated", "readOnly", "writeOnly"}
)
"""Keywords that say nothing about what is valid."""

KEYWORDS = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"maxLength", "pattern"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "boolean": set(),
    "null": set(),
}
HANDLED = frozenset().union(*KEYWORDS.values())
UNBOUNDED = frozenset({"anyOf", "oneOf", "allOf", "minLength", "format", "multipleOf", "patternProperties"})
"""Keywords that a template cannot hold and a grammar can."""


class SchemaError(InputError):
    """A schema outside the supported part. keyword: which; pointer: where it stands, or would have to stand; unbounded: whether it
    is only that answers have no longest form, so that a grammar (`decoding.grammar`) may honour what a template cannot.
    """

    def __init__(self, keyword: str, pointer: str, why: str, *, unbounded: bool = False) -> None:
        shown = pointer if pointer.isprintable() else json.dumps(pointer)
        super().__init__(f"schema {shown or '/'}: {why}")
        self.keyword, self.pointer, self.unbounded = keyword, pointer, unbounded


def unsupported(keyword: str) -> str:
    return f"{keyword!r} is not supported"


def escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def as_json(value: Any, pointer: str = "") -> str:
    """A value as it is written. Raises SchemaError for one that JSON or UTF-8 cannot hold."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, TypeError) as e:
        raise SchemaError(pointer.rsplit("/", 1)[-1], pointer, f"cannot be written as JSON: {e}") from None
    return text


def is_of(value: Any, kind: str) -> bool:
    """Whether a JSON value is of a type of JSON Schema (where 1.0 is an integer and true is no number)."""
    if kind == "integer":
        return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    if kind == "number":
        return not isinstance(value, bool) and isinstance(value, int | float)
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    return isinstance(value, types[kind])


def count(node: dict[str, Any], keyword: str, at: str, implied: int | None) -> int:
    value = node.get(keyword, implied)
    if value is None:
        why = f"{keyword} is missing: the answer would have no longest form"
        raise SchemaError(keyword, f"{at}/{keyword}", why, unbounded=True)
    if not is_of(value, "integer") or value < 0:
        raise SchemaError(keyword, f"{at}/{keyword}", f"{keyword} must be a whole number from 0 on, got {json.dumps(value)}")
    return int(value)


def bound(value: Any, keyword: str, at: str) -> Decimal:
    if not is_of(value, "number") or not math.isfinite(value):
        raise SchemaError(keyword, f"{at}/{keyword}", f"{keyword} must be a number, got {json.dumps(value)}")
    return Decimal(repr(value))
