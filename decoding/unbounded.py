"""JSON Schema to a grammar, for schemas whose answers have no longest form.

`llguidance` passes over keywords that it does not know, so what it is given is checked first; what it refuses itself is traced to
the keyword without which it would not. Unlike in a template, properties that are not required may be left out. A format is one of
shape (a date may be the 29th of any February); in patterns classes are those of ASCII, as ECMA-262 has them, so `\\W` takes `é`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from decoding.closing import Closing
from decoding.grammar import Grammar
from decoding.keywords import ANNOTATIONS, KEYWORDS, SchemaError, as_json, escaped, unsupported
from decoding.pattern import shortest
from decoding.schema import plain
from decoding.vocabulary import Vocabulary

FORM = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
"""JSON as templates write it: on one line."""
ROOT = "schema"
"""The name of the whole schema among the definitions of each of its parts."""
BETWEEN = 8
"""Rows of what a token may begin beside a value: separators, spaces and the quotes of a key, byte by byte."""
APART = 1e-14
"""Distance of a number from an exclusive bound, in parts of the bound, or of 1 where that is more. `llguidance` keeps 15 digits."""
WHY = 160
"""Characters of a reason that `llguidance` gives. It may quote a regular expression of any length."""

_MORE = {
    "object": {"patternProperties"},
    "string": {"minLength", "format"},
    "integer": {"multipleOf"},
    "number": {"multipleOf"},
}
_DEFINITIONS = ("$defs", "definitions")
_NAMED = ("properties", "patternProperties", *_DEFINITIONS)
_LISTED = ("prefixItems", "anyOf", "oneOf", "allOf")
_INNER = ("items", "additionalProperties")
_ANYWHERE = ("type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf", *_DEFINITIONS)


def compile(schema: Any, vocabulary: Vocabulary) -> Grammar:
    """A JSON schema, or a pydantic model class, as a grammar. Raises SchemaError for one that cannot be honoured."""
    root = honoured(plain(schema))
    if not isinstance(root, dict):
        raise SchemaError("", "", f"a schema is an object, got {json.dumps(root)}; name a type")
    as_json(root)

    def spelled(node: dict[str, Any]) -> str:
        return vocabulary.grammar(_inclusive(_alone(node, root)), FORM)

    if vocabulary.error(spelled(root)):
        raise _blamed(root, lambda node: vocabulary.error(spelled(node)))
    found = list(nodes(root))
    every = [node for node, _ in found]
    patterns = {p for node in every for p in (node.get("pattern"), *_dict(node, "patternProperties")) if isinstance(p, str)}
    closing = Closing(vocabulary, sorted(h for p in patterns if (h := shortest(p))))

    def way(node: Any) -> tuple[int, ...]:
        """() where no value fits: the grammar never begins one."""
        if not isinstance(node, dict) or vocabulary.error(spelled(node)):
            return ()
        if (ids := closing.way(vocabulary.matcher(spelled(node)))) is None:
            at = next((at for inner, at in found if inner == node), "")
            why = "no value was found that ends; give what contains itself an end, or say a pattern more simply"
            raise SchemaError("", at, why)
        return ids

    for node, at in found:
        way(node)
        for name, value in _dict(node, "patternProperties").items():
            if value is not True and not way(value):  # `llguidance` would let such a name be one of the additional ones
                why = "no value fits; leave the pattern out, and close the object with 'additionalProperties': false"
                raise SchemaError("patternProperties", f"{at}/patternProperties/{escaped(name)}", why)
    added = max((len(way(more)) for node in every for more in _added(node)), default=0)
    written = [h for p in patterns if (h := shortest(p, full=True))]
    written += [as_json(value) for node in every for value in node.get("enum", ())]
    longest = max((len(w.encode()) for w in written), default=0)
    return Grammar(closing, vocabulary.matcher(spelled(root)), way(root), BETWEEN + added + longest)


def _added(node: dict[str, Any]) -> Iterator[Any]:
    """Schemas of what a single token may add to an answer: all that may as well be left out, or stand in another's place."""
    for name, value in _dict(node, "properties").items():
        if name not in node.get("required", ()):
            yield {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}
    for keyword in ("items", "additionalProperties"):
        yield node.get(keyword)
    yield from _dict(node, "patternProperties").values()
    for keyword in ("anyOf", "oneOf", "prefixItems"):
        yield from node.get(keyword, ())
    kinds = node.get("type", ())
    yield from ({**node, "type": kind} for kind in kinds if isinstance(kinds, list))


def _dict(node: dict[str, Any], keyword: str) -> dict[str, Any]:
    """The value of a keyword that should be an object; none where it is not, which `llguidance` refuses where it matters."""
    value = node.get(keyword)
    return value if isinstance(value, dict) else {}


def honoured(schema: Any, at: str = "") -> Any:
    """The schema without what says nothing about validity, its references led to where it stands in what is compiled.

    Raises SchemaError for a keyword that no grammar can honour.
    """
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        raise SchemaError("", at, f"a schema is an object, got {json.dumps(schema, default=str)[:40]}; name a type")
    known = _known(schema, at)
    for keyword in schema:
        if keyword not in known and keyword not in ANNOTATIONS:
            raise SchemaError(keyword, f"{at}/{escaped(keyword)}", unsupported(keyword))
    if not isinstance(schema.get("multipleOf", 1), int):
        raise SchemaError("multipleOf", f"{at}/multipleOf", "only multiples of whole numbers are supported")
    out = {k: _inside(k, v, f"{at}/{escaped(k)}", honoured) for k, v in schema.items() if k in known}
    if str(where := out.get("$ref", "")).startswith("#"):
        out["$ref"] = f"#/$defs/{ROOT}{where[1:]}"
    return out


def _known(node: dict[str, Any], at: str) -> set[str]:
    """The keywords that mean something in a schema of its type."""
    kinds = node.get("type", list(KEYWORDS))
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if not kinds or any(not isinstance(k, str) or k not in KEYWORDS for k in kinds):
        raise SchemaError("type", f"{at}/type", f"type must be one of {sorted(KEYWORDS)}, got {json.dumps(node['type'])}")
    return set(_ANYWHERE).union(*(KEYWORDS[k] | _MORE.get(k, set()) for k in kinds))


def _inside(keyword: str, value: Any, at: str, use: Callable[[Any, str], Any]) -> Any:
    """The value of a keyword with `use(schema, pointer)` in the place of every schema right inside it."""
    if keyword in _NAMED and isinstance(value, dict):
        return {n: use(v, f"{at}/{escaped(n)}") for n, v in value.items()}
    if keyword in _LISTED and isinstance(value, list):
        return [use(v, f"{at}/{n}") for n, v in enumerate(value)]
    return use(value, at) if keyword in _INNER else value


def nodes(schema: Any, at: str = "") -> list[tuple[dict[str, Any], str]]:
    """(schema, pointer) of every schema that is an object, the innermost first."""
    found: list[tuple[dict[str, Any], str]] = []
    if not isinstance(schema, dict):
        return found
    for keyword, value in schema.items():
        _inside(keyword, value, f"{at}/{escaped(keyword)}", lambda inner, where: found.extend(nodes(inner, where)))
    return [*found, (schema, at)]


def _alone(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """A schema of `root` as one of its own, `root` among its definitions, where `honoured` has led the references."""
    return {**{k: v for k, v in node.items() if k not in _DEFINITIONS}, "$defs": {ROOT: root}}


def _inclusive(node: Any) -> Any:
    """The schema with inclusive bounds, a step further in, for exclusive ones.

    A number may be written so close to a bound that it is read as the bound itself. (And `llguidance` 1.9 takes 1 for a number
    that is more than 1 and at most 1.25: it forgets an exclusive bound whose whole part the other bound shares.)
    """
    if not isinstance(node, dict):
        return node
    out = {k: _inside(k, v, "", lambda inner, _: _inclusive(inner)) for k, v in node.items()}
    for bound, stricter, sign in (("minimum", max, 1), ("maximum", min, -1)):
        exclusive = f"exclusive{bound.capitalize()}"
        if _number(node.get(exclusive)) and _number(node.get(bound, 0)):
            at = out.pop(exclusive)
            further = at + sign * APART * max(abs(at), 1)
            out[bound] = stricter(further, node.get(bound, further))
    return out


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _blamed(root: dict[str, Any], error: Callable[[dict[str, Any]], str]) -> SchemaError:
    """The refusal of a schema for which `error` has one: at the innermost schema that has one alone, and there at a keyword."""
    for node, at in nodes(root):
        if why := error(node):
            likely = sorted((k for k in node if k not in _DEFINITIONS), key=lambda k: k not in why)
            without = ((k, {n: v for n, v in node.items() if n != k}) for k in likely)
            keyword = next((k for k, rest in without if not error(rest)), next(iter(likely), ""))
            return SchemaError(keyword, f"{at}/{escaped(keyword)}", _short(why))
    return SchemaError("", "", _short(error(root)))


def _short(why: str) -> str:
    why = why.replace(f"/$defs/{ROOT}", "")
    return why if len(why) <= WHY else f"{why[:WHY]}..."
