"""Random JSON schemas inside and outside the supported part, and a tokenizer to write their answers with."""

from __future__ import annotations

import json
from functools import cache
from random import Random
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, STOP, MASK = "<|pad|>", "<|stop|>", "<|mask|>"
_TEXT = [
    '{"speed": 12.5, "name": "left turn", "objects": [true, false, null], "état": "größer → 東京"}',
    "the lead car brakes 0123456789",
]


class Words:
    """A byte-level BPE of 400 ids with merges over words, JSON punctuation and characters of several bytes."""

    def __init__(self) -> None:
        self.bpe = Tokenizer(models.BPE())
        self.bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        self.bpe.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=[PAD, STOP, MASK], initial_alphabet=alphabet, show_progress=False
        )
        self.bpe.train_from_iterator(_TEXT * 20, trainer)
        self.pad, self.stop, self.mask = (self.bpe.token_to_id(t) for t in (PAD, STOP, MASK))

    def __len__(self) -> int:
        return self.bpe.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return self.bpe.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return self.bpe.decode(ids, skip_special_tokens=True)


@cache
def words() -> Words:
    return Words()


_NAMES = ["a", "speed", "name", "état", 'say "hi"', "x/y~z", "back\\slash", "", "objects", "line\nbreak", "東京"]
_VALUES: list[Any] = [
    "left",
    "right turn",
    "größer",
    'q"uote',
    "",
    1,
    -2,
    3.5,
    True,
    False,
    None,
    [1, "a"],
    {"k": [None]},
    "\u0007",
]


def inside(r: Random, depth: int = 3) -> dict[str, Any]:
    """A schema that is supported; its own definitions are part of it."""
    definitions: dict[str, Any] = {}
    out = _object(r, depth, definitions) if r.random() < 0.7 else _any(r, depth, definitions)
    if definitions:
        out = out | {"$defs": definitions}
    if r.random() < 0.2:
        out = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "made at random"} | out
    return out


def _any(r: Random, depth: int, defs: dict[str, Any]) -> dict[str, Any]:
    kinds = [_enum, _const, _boolean, _null, _integer, _number, _string, _string, _pattern]
    kinds += [_object, _array, _tuple, _reference] if depth > 0 else []
    out = r.choice(kinds)(r, depth - 1, defs)
    if "$ref" not in out and r.random() < 0.1:
        out = {"description": "words", **out}
    return out


def _object(r: Random, depth: int, defs: dict[str, Any]) -> dict[str, Any]:
    names = r.sample(_NAMES, r.randint(0, 4))
    properties = {n: _any(r, depth - 1, defs) for n in names}
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def _array(r: Random, depth: int, defs: dict[str, Any]) -> dict[str, Any]:
    n = r.randint(0, 3)
    return {"type": "array", "items": _any(r, depth, defs), "minItems": n, "maxItems": n}


def _tuple(r: Random, depth: int, defs: dict[str, Any]) -> dict[str, Any]:
    n = r.randint(1, 3)
    out: dict[str, Any] = {"type": "array", "prefixItems": [_any(r, depth, defs) for _ in range(n)], "minItems": n}
    return out | ({"items": False} if r.random() < 0.5 else {"maxItems": n})


def _reference(r: Random, depth: int, defs: dict[str, Any]) -> dict[str, Any]:
    name = f"d{len(defs)}"
    defs[name] = {}  # keeps the name while what it holds is made
    defs[name] = _any(r, depth, defs)
    return {"$ref": f"#/$defs/{name}"}


def _enum(r: Random, depth: int, defs: dict[str, Any]) -> dict[str, Any]:
    if r.random() < 0.4:
        return {"type": "string", "enum": r.sample([v for v in _VALUES if isinstance(v, str)], r.randint(1, 5))}
    return {"enum": r.sample(_VALUES, r.randint(1, 5))}


def _const(r: Random, depth: int, defs: dict[str, Any]) -> dict[str, Any]:
    return {"const": r.choice(_VALUES)}


def _boolean(r: Random, depth: int, defs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "boolean"}


def _null(r: Random, depth: int, defs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "null"}


def _bounds(r: Random, whole: bool) -> dict[str, Any]:
    a = r.choice([0, -5, 7, -1000, 123456]) if whole else r.choice([0, -0.5, 1.25, -99.999, 1e3])
    b = a + (r.choice([1, 9, 10, 95, 12345]) if whole else r.choice([0.5, 2, 10.01, 1e4]))
    low = {r.choice(["minimum", "exclusiveMinimum"]): a} if r.random() < 0.7 else {}
    high = {r.choice(["maximum", "exclusiveMaximum"]): b + whole} if r.random() < 0.7 else {}
    return low | high


def _integer(r: Random, depth: int, defs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "integer"} | _bounds(r, True)


def _number(r: Random, depth: int, defs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "number"} | _bounds(r, False)


def _string(r: Random, depth: int, defs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "string", "maxLength": r.choice([0, 1, 2, 5, 12])}


def _pattern(r: Random, depth: int, defs: dict[str, Any]) -> dict[str, Any]:
    pieces = ["[+-]", r"\d{3}", r"\.", "[a-c0-9]", "(ab|)"[:3] + ")", "x", " ", r"[\w]", 'é"', r"\\", "(?:[01]{2},){2}", '[a-z"]']
    body = "".join(r.choice(pieces) for _ in range(r.randint(1, 4)))
    return {"type": "string", "pattern": f"^{body}$" if r.random() < 0.7 else body}


# --- outside --------------------------------------------------------------------------------------------------------------

BREAKS: list[tuple[str, dict[str, Any]]] = [
    (k, {"type": "string", "maxLength": 3, k: v})
    for k, v in [("minLength", 1), ("format", "date"), ("contentEncoding", "base64"), ("anyOf", [{"type": "null"}]), ("not", {})]
] + [
    ("maxLength", {"type": "string"}),
    ("maxLength", {"type": "string", "maxLength": -1}),
    ("maxLength", {"type": "string", "maxLength": 1, "pattern": "ab"}),
    ("pattern", {"type": "string", "pattern": "a+"}),
    ("pattern", {"type": "string", "pattern": "a|b"}),
    ("pattern", {"type": "string", "pattern": "(?=a)b"}),
    ("pattern", {"type": "string", "pattern": "[^a]"}),
    ("pattern", {"type": "string", "pattern": "a{2,3}"}),
    ("pattern", {"type": "string", "pattern": "(a"}),
    ("pattern", {"type": "string", "pattern": 5}),
    ("multipleOf", {"type": "integer", "multipleOf": 3}),
    ("minimum", {"type": "integer", "minimum": 5, "maximum": 4}),
    ("minimum", {"type": "number", "minimum": "0"}),
    ("exclusiveMinimum", {"type": "integer", "exclusiveMinimum": True}),
    ("type", {}),
    ("type", {"type": ["integer", "null"]}),
    ("type", {"type": "float"}),
    ("type", {"type": 7}),
    ("oneOf", {"oneOf": [{"type": "integer"}, {"type": "null"}]}),
    ("allOf", {"allOf": [{"type": "integer"}]}),
    ("if", {"if": {}, "then": {}}),
    ("enum", {"enum": []}),
    ("enum", {"enum": "abc"}),
    ("enum", {"type": "integer", "enum": ["a"]}),
    ("minimum", {"enum": [1, 2], "minimum": 2}),
    ("const", {"type": "string", "const": 1}),
    ("$ref", {"$ref": "#/$defs/absent"}),
    ("$ref", {"$ref": "other.json"}),
    ("$ref", {"$ref": "#"}),
    ("$dynamicRef", {"$dynamicRef": "#x"}),
    ("additionalProperties", {"type": "object", "properties": {}}),
    ("additionalProperties", {"type": "object", "properties": {}, "additionalProperties": True}),
    ("additionalProperties", {"type": "object", "properties": {}, "additionalProperties": {"type": "null"}}),
    ("patternProperties", {"type": "object", "patternProperties": {}, "additionalProperties": False}),
    ("minProperties", {"type": "object", "properties": {}, "minProperties": 1, "additionalProperties": False}),
    ("required", {"type": "object", "properties": {}, "required": ["a"], "additionalProperties": False}),
    ("properties", {"type": "object", "properties": [], "additionalProperties": False}),
    ("maxItems", {"type": "array", "items": {"type": "null"}, "minItems": 1}),
    ("minItems", {"type": "array", "items": {"type": "null"}, "maxItems": 1}),
    ("maxItems", {"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 2}),
    ("uniqueItems", {"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 1, "uniqueItems": True}),
    ("contains", {"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 1, "contains": {}}),
    ("items", {"type": "array", "minItems": 1, "maxItems": 1}),
    ("minItems", {"type": "array", "prefixItems": [], "items": False, "minItems": 2, "maxItems": 2}),
]  # fmt: skip


def outside(r: Random) -> tuple[dict[str, Any], str, str]:
    """A schema of which one node is outside, that node's keyword, and the pointer to the keyword."""
    keyword, node = r.choice(BREAKS)
    pointer = f"/{keyword}"
    for _ in range(r.randint(0, 3)):
        if r.random() < 0.6:
            name = r.choice(_NAMES)
            before = {n: {"type": "null"} for n in _NAMES[:2] if n != name}
            node = {"type": "object", "properties": {**before, name: node}, "required": [name], "additionalProperties": False}
            pointer = f"/properties/{name.replace('~', '~0').replace('/', '~1')}{pointer}"
        elif r.random() < 0.5:
            node, pointer = {"type": "array", "items": node, "minItems": 2, "maxItems": 2}, f"/items{pointer}"
        else:
            node = {"type": "array", "prefixItems": [{"type": "boolean"}, node], "minItems": 2, "maxItems": 2}
            pointer = f"/prefixItems/1{pointer}"
    return json.loads(json.dumps(node)), keyword, pointer
