"""JSON Schema to an answer template (draft 2020-12, the part whose answers have a known longest form).

    object      fixed property order, `additionalProperties: false`; every property is written
    array       `minItems` = `maxItems`, with `items` or `prefixItems`
    string      `maxLength` (code points), a token budget, or a `pattern` of one fixed width
    integer, number      bounds, digits and decimals (`NumberFormat`)
    boolean, null, enum, const, local `$ref`

Everything else is refused with its keyword and JSON pointer: an answer either is valid by construction or is not started.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel, Field

from decoding import flow, scaffold
from decoding.flow import Flow
from decoding.keywords import (
    ANNOTATIONS,
    HANDLED,
    KEYWORDS,
    UNBOUNDED,
    SchemaError,
    as_json,
    bound,
    count,
    escaped,
    is_of,
    unsupported,
)
from decoding.pattern import PatternError, positions, signed_number
from decoding.scaffold import Scaffold
from decoding.template import Chars, Choice, FreeText, JsonNumber, Number, Part, Template, TemplateSection, Text, decimal
from edge.core.config import Frozen
from edge.core.errors import InputError
from edge.core.types import Tokenizer

DEEPEST = 64
"""Levels of nesting. A deeper answer is a mistake sooner than a wish."""
WHOLE = "value"
"""The one section of an answer that is no object."""
EXACT_DIGITS = 15
"""Decimal digits that a double tells apart: beyond them a written number may be read as its neighbour."""


class NumberFormat(Frozen):
    """How numbers are written. integer_digits: digits before the point where the schema gives no bound; decimals: digits behind
    it, of `number` alone; fixed_width: filled up with leading spaces to the width of the longest.
    """

    integer_digits: int = Field(default=6, gt=0, le=EXACT_DIGITS)
    decimals: int = Field(default=2, ge=0, lt=EXACT_DIGITS)
    fixed_width: bool = False


def compile(
    schema: Any,
    tokenizer: Tokenizer,
    *,
    pad_token_id: int | None = None,
    budgets: Mapping[str, int] | None = None,
    numbers: NumberFormat | None = None,
    order: Sequence[str] | None = None,
    vocab_size: int | None = None,
    stop_id: int | None = None,
) -> Scaffold | Flow:
    """A schema for a tokenizer: a scaffold where all rows have their place (values of one length, or padded), else a flow.

    schema: a JSON schema or a pydantic model class. The other options are those of `template`; vocab_size: ids of the model, by
    default the tokenizer's; stop_id: ends the answer. Raises SchemaError for a schema outside the supported part, UnsupportedError
    for a tokenizer that cannot write it.
    """
    made = template(schema, budgets=budgets, numbers=numbers, order=order)
    tokenizer = _Plain(tokenizer) if hasattr(tokenizer, "convert_ids_to_tokens") else tokenizer
    ids = vocab_size if vocab_size is not None else len(tokenizer)  # type: ignore[arg-type]
    return build(made, tokenizer, vocab_size=ids, pad_token_id=pad_token_id, stop_id=stop_id)


def build(
    made: Template, tokenizer: Tokenizer, *, vocab_size: int, pad_token_id: int | None, stop_id: int | None
) -> Scaffold | Flow:
    """A template for a tokenizer: a scaffold where all rows have their place, else a flow."""
    if pad_token_id is None and scaffold.varies(made, tokenizer):
        return flow.build(made, tokenizer, vocab_size=vocab_size, stop_id=stop_id)
    return scaffold.build(made, tokenizer, vocab_size=vocab_size, pad_token_id=pad_token_id, stop_id=stop_id)


def template(
    schema: Any,
    *,
    budgets: Mapping[str, int] | None = None,
    numbers: NumberFormat | None = None,
    order: Sequence[str] | None = None,
) -> Template:
    """The answer template of a schema, a section for every property of the outermost object.

    budgets: tokens of strings, by section or by JSON pointer of the string in the answer (`/objects/0/name`); a string without a
    budget may take as many tokens as it has code points. order: the sections in another order. Raises SchemaError.
    """
    return _Reader(plain(schema), dict(budgets or {}), numbers or NumberFormat()).template(order)


def plain(schema: Any) -> Any:
    """A JSON schema as it is, that of a pydantic model class with its objects closed."""
    return _closed(schema.model_json_schema()) if isinstance(schema, type) and issubclass(schema, BaseModel) else schema


def _closed(node: Any) -> Any:
    """A pydantic schema with its objects closed: what is not named is not written."""
    if isinstance(node, dict):
        out = {k: _closed(v) for k, v in node.items()}
        if out.get("type") == "object" and isinstance(out.get("properties"), dict) and out.get("additionalProperties") is not True:
            out.setdefault("additionalProperties", False)
        return out
    return [_closed(v) for v in node] if isinstance(node, list) else node


class _Plain:
    """A tokenizer of `transformers` without its special tokens. Implements `edge.core.types.Tokenizer`."""

    def __init__(self, tokenizer: Any) -> None:
        self._hf = tokenizer

    def __len__(self) -> int:
        return len(self._hf)

    def encode(self, text: str) -> list[int]:
        return self._hf.encode(text, add_special_tokens=False)

    def decode(self, ids: list[int]) -> str:
        return self._hf.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class _Reader:
    """Walks a schema and gives the parts of its answer. `at` is a pointer into the schema, `place` one into the answer."""

    def __init__(self, root: Any, budgets: dict[str, int], numbers: NumberFormat) -> None:
        self.root, self.budgets, self.numbers = root, budgets, numbers
        self.section = WHOLE
        self.following: list[str] = []  # references on the way down: one that comes again has no longest form

    def template(self, order: Sequence[str] | None) -> Template:
        node, at = self._resolve(self.root, "")
        self._check(node, at)
        if node.get("type") != "object" or not node.get("properties"):
            self.following.clear()
            parts = self.value(self.root, "", "")
            return Template(sections=(TemplateSection(name=WHOLE, parts=_joined(parts)),))
        named = self._properties(node, at)
        names = list(named) if order is None else list(order)
        if sorted(names) != sorted(named):
            raise InputError(f"order must name every section once: got {names} for {list(named)}")
        sections = []
        for n, name in enumerate(names):
            self.section = name
            opening = [Text(text=("{" if n == 0 else ", ") + as_json(name, f"{at}/properties") + ": ")]
            closing = [Text(text="}")] if n == len(names) - 1 else []
            parts = self.value(named[name], f"{at}/properties/{escaped(name)}", f"/{escaped(name)}")
            sections.append(TemplateSection(name=name, parts=_joined([*opening, *parts, *closing])))
        return Template(sections=tuple(sections))

    def value(self, node: Any, at: str, place: str) -> list[Part]:
        if place.count("/") > DEEPEST:
            raise SchemaError("type", f"{at}/type", f"more than {DEEPEST} levels of nesting are not supported")
        depth = len(self.following)
        node, at = self._resolve(node, at)
        self._check(node, at)
        if "const" in node:
            parts: list[Part] = [Text(text=as_json(self._typed([node["const"]], node, at, "const")[0], f"{at}/const"))]
        elif "enum" in node:
            parts = self._enum(node, at)
        else:
            parts = getattr(self, f"_{node['type']}")(node, at, place)
        del self.following[depth:]
        return parts

    # --- what is supported at all -----------------------------------------------------------------------------------------------

    def _resolve(self, node: Any, at: str) -> tuple[dict[str, Any], str]:
        """Follow references to a schema that is none, and say where it stands."""
        while True:
            if not isinstance(node, dict):
                raise SchemaError("", at, f"a schema is an object, got {json.dumps(node, default=str)[:40]}; name a type")
            if "$ref" not in node:
                return node, at
            where, here = node["$ref"], f"{at}/$ref"
            if extra := sorted(set(node) - {"$ref"} - ANNOTATIONS):
                raise SchemaError(
                    extra[0],
                    f"{at}/{escaped(extra[0])}",
                    f"{extra[0]!r} beside '$ref' is not supported; move it there",
                    unbounded=extra[0] in UNBOUNDED | HANDLED,
                )
            if not isinstance(where, str) or not (where == "#" or where.startswith("#/")):
                raise SchemaError("$ref", here, f"only references within the schema ('#/...') are supported, got {where!r}")
            if where in self.following or where == "#":
                raise SchemaError("$ref", here, f"{where!r} contains itself, so its answer has no longest form", unbounded=True)
            self.following.append(where)
            node, at = self._target(where, here), where[1:]

    def _target(self, where: str, here: str) -> Any:
        node = self.root
        for step in unquote(where[2:]).split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(key)] if isinstance(node, list) else node[key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise SchemaError("$ref", here, f"{where!r} is not in the schema") from None
        return node

    def _check(self, node: dict[str, Any], at: str) -> None:
        """Refuse every keyword that is not handled, and a schema without a type."""
        kind = node.get("type")
        if "const" in node or "enum" in node:
            known = {"const", "enum", "type"} - ({"enum"} if "const" in node else set())
        elif kind is None:
            extra = next((k for k in node if k not in ANNOTATIONS and k not in HANDLED), "type")
            why = f"{unsupported(extra)}; give a type, an enum or a const"
            raise SchemaError(extra, f"{at}/{escaped(extra)}", why, unbounded=extra == "type" or extra in UNBOUNDED)
        elif not isinstance(kind, str) or kind not in KEYWORDS:
            why = f"type must be one of {sorted(KEYWORDS)}, got {json.dumps(kind)}"
            raise SchemaError("type", f"{at}/type", why, unbounded=isinstance(kind, list))
        else:
            known = KEYWORDS[kind] | {"type"}
        for keyword in node:
            if keyword not in known and keyword not in ANNOTATIONS:
                raise SchemaError(keyword, f"{at}/{escaped(keyword)}", unsupported(keyword), unbounded=keyword in UNBOUNDED)

    # --- kinds of values ----------------------------------------------------------------------------------------------------------

    def _enum(self, node: dict[str, Any], at: str) -> list[Part]:
        values = node["enum"]
        if not isinstance(values, list) or not values:
            raise SchemaError("enum", f"{at}/enum", "an enum lists at least one value")
        values = self._typed(values, node, at, "enum")
        texts = list(dict.fromkeys(as_json(v, f"{at}/enum") for v in values))
        if all(isinstance(v, str) for v in values):  # the quotes are known, whatever is chosen
            inner = [t[1:-1] for t in texts]
            if len(inner) > 1 and "" not in inner:
                return [Text(text='"'), Choice(options=tuple(inner)), Text(text='"')]
        return [Text(text=texts[0])] if len(texts) == 1 else [Choice(options=tuple(texts))]

    def _typed(self, values: list[Any], node: dict[str, Any], at: str, keyword: str) -> list[Any]:
        """The values that are of the type beside them. Raises SchemaError when none is."""
        kind = node.get("type")
        if kind is not None and (not isinstance(kind, str) or kind not in KEYWORDS):
            raise SchemaError("type", f"{at}/type", f"type must be one of {sorted(KEYWORDS)}, got {json.dumps(kind)}")
        fit = [v for v in values if kind is None or is_of(v, kind)]
        if not fit:
            raise SchemaError(keyword, f"{at}/{keyword}", f"no value is of type {kind!r}")
        return fit

    def _properties(self, node: dict[str, Any], at: str) -> dict[str, Any]:
        if node.get("additionalProperties") is not False:
            why = "an object must have 'additionalProperties': false"
            raise SchemaError("additionalProperties", f"{at}/additionalProperties", why, unbounded=True)
        properties, required = node.get("properties", {}), node.get("required", [])
        if not isinstance(properties, dict):
            raise SchemaError("properties", f"{at}/properties", "properties must be an object")
        if not isinstance(required, list) or any(not isinstance(r, str) or r not in properties for r in required):
            raise SchemaError("required", f"{at}/required", "required must list names that properties has")
        return properties

    def _object(self, node: dict[str, Any], at: str, place: str) -> list[Part]:
        parts: list[Part] = []
        for n, (name, inner) in enumerate(self._properties(node, at).items()):
            parts.append(Text(text=("{" if n == 0 else ", ") + as_json(name, f"{at}/properties") + ": "))
            parts += self.value(inner, f"{at}/properties/{escaped(name)}", f"{place}/{escaped(name)}")
        return [*parts, Text(text="}" if parts else "{}")]

    def _array(self, node: dict[str, Any], at: str, place: str) -> list[Part]:
        first, rest = node.get("prefixItems", []), node.get("items", True)
        if not isinstance(first, list):
            raise SchemaError("prefixItems", f"{at}/prefixItems", "prefixItems must be a list of schemas")
        low = count(node, "minItems", at, None)
        high = count(node, "maxItems", at, len(first) if rest is False else None)
        if low != high:
            keyword = "maxItems" if "maxItems" in node or "minItems" not in node else "minItems"
            why = f"minItems and maxItems must be equal, got {low} and {high}"
            raise SchemaError(keyword, f"{at}/{keyword}", why, unbounded=low < high)
        if low > len(first) and "items" not in node:
            raise SchemaError("items", f"{at}/items", f"items {len(first)} to {low - 1} have no schema", unbounded=True)
        if low > len(first) and rest is False:
            raise SchemaError("minItems", f"{at}/minItems", f"{low} items are wanted and prefixItems allows {len(first)}")
        parts: list[Part] = []
        for n in range(low):
            inner, where = (first[n], f"prefixItems/{n}") if n < len(first) else (rest, "items")
            parts.append(Text(text="[" if n == 0 else ", "))
            parts += self.value(inner, f"{at}/{where}", f"{place}/{n}")
        return [*parts, Text(text="]" if parts else "[]")]

    def _string(self, node: dict[str, Any], at: str, place: str) -> list[Part]:
        longest = count(node, "maxLength", at, None) if "maxLength" in node else None
        if "pattern" in node:
            return [Text(text='"'), *self._pattern(node["pattern"], longest, at), Text(text='"')]
        budget = self.budgets.get(place, self.budgets.get(self.section))
        if budget is not None and budget < 1:
            raise InputError(f"the budget of {place or self.section!r} must be at least 1 token: got {budget}")
        if longest is None and budget is None:
            why = "a string needs maxLength, a pattern or a token budget"
            raise SchemaError("maxLength", f"{at}/maxLength", why, unbounded=True)
        if longest == 0:
            return [Text(text='""')]
        width = min(b for b in (budget, longest) if b is not None)
        return [Text(text='"'), FreeText(budget=width, max_chars=longest), Text(text='"')]

    def _pattern(self, pattern: Any, longest: int | None, at: str) -> list[Part]:
        here = f"{at}/pattern"
        if not isinstance(pattern, str):
            raise SchemaError("pattern", here, "a pattern is a string")
        try:
            found = positions(pattern)
        except PatternError as e:
            raise SchemaError("pattern", here, f"{pattern!r} is not supported: {e}", unbounded=True) from None
        if longest is not None and len(found) > longest:
            raise SchemaError(
                "maxLength", f"{at}/maxLength", f"strings of the pattern have {len(found)} characters, more than {longest}"
            )
        parts: list[Part] = []
        n = 0
        while n < len(found):
            if (digits := signed_number(found, n)) is not None:  # averaged as a number, not as characters
                whole, decimals = digits
                parts.append(Number(integer_digits=whole, decimals=decimals))
                n += 1 + whole + (1 + decimals if decimals else 0)
                continue
            choices, n = found[n], n + 1
            if len(choices) == 1:
                parts.append(Text(text=as_json(next(iter(choices)), here)[1:-1]))
                continue
            plain = "".join(sorted(c for c in choices if len(as_json(c, here)) == 3))
            if not plain:
                raise SchemaError("pattern", here, f"{pattern!r}: a class of characters that all need an escape is not supported")
            parts.append(Chars(classes=(plain,)))
        return parts

    def _integer(self, node: dict[str, Any], at: str, place: str) -> list[Part]:
        return [self._bounded(node, at, 0)]

    def _number(self, node: dict[str, Any], at: str, place: str) -> list[Part]:
        return [self._bounded(node, at, self.numbers.decimals)]

    def _bounded(self, node: dict[str, Any], at: str, decimals: int) -> Part:
        most = 10 ** (min(self.numbers.integer_digits, EXACT_DIGITS - decimals) + decimals) - 1
        given = {k: bound(node[k], k, at) for k in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum") if k in node}
        scaled = {k: v.scaleb(decimals) for k, v in given.items()}
        low = [math.floor(b) + 1 if k[0] == "e" else math.ceil(b) for k, b in scaled.items() if k.lower().endswith("minimum")]
        high = [math.ceil(b) - 1 if k[0] == "e" else math.floor(b) for k, b in scaled.items() if k.lower().endswith("maximum")]
        lowest = max(low) if low else min([-most, *high])
        highest = min(high) if high else max([most, *low])
        if decimals:
            limit = 10**EXACT_DIGITS - 1
            lowest, highest = max(lowest, -limit), min(highest, limit)
        if lowest > highest:
            keyword = next(iter(given), "type")
            why = f"no number with {decimals} decimals and at most {EXACT_DIGITS} digits lies within the bounds"
            raise SchemaError(keyword, f"{at}/{keyword}", why, unbounded=decimals > 0)
        if lowest == highest:
            return Text(text=decimal(lowest, decimals))
        return JsonNumber(lowest=lowest, highest=highest, decimals=decimals, fixed_width=self.numbers.fixed_width)

    def _boolean(self, node: dict[str, Any], at: str, place: str) -> list[Part]:
        return [Choice(options=("true", "false"))]

    def _null(self, node: dict[str, Any], at: str, place: str) -> list[Part]:
        return [Text(text="null")]


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Neighbouring literals and neighbouring classes as one."""
    out: list[Part] = []
    for part in parts:
        last = out[-1] if out else None
        if isinstance(part, Text) and isinstance(last, Text):
            out[-1] = Text(text=last.text + part.text)
        elif isinstance(part, Chars) and isinstance(last, Chars):
            out[-1] = Chars(classes=last.classes + part.classes)
        else:
            out.append(part)
    return tuple(out)
