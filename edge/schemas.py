"""Schemas of requests as what a checkpoint's decoding follows: compiled once, kept for requests to come."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ValidationError

from decoding import unbounded
from decoding.flow import Flow
from decoding.grammar import Grammar, GrammarRows
from decoding.keywords import SchemaError
from decoding.scaffold import Scaffold
from decoding.schema import build, plain, template
from decoding.template import Template
from decoding.vocabulary import Vocabulary
from edge.core.blockspec import BlockSpec
from edge.core.config import explain
from edge.core.errors import InputError, UnsupportedError
from edge.core.recent import Recent
from edge.models.text import ChatTokenizer

KEPT = 64
"""Compiled schemas that are kept."""
Constrained = Scaffold | Flow | GrammarRows | None
Compiled = Scaffold | Flow | Grammar


TEMPLATE_KEY = "x-edge-template"
"""The one key of a "JSON schema" that holds a template: how a template travels where only schemas may."""


class Schemas:
    """Compiles for one checkpoint. tokenizer: gives its tokenizer, when one is needed for the first time."""

    def __init__(
        self, spec: BlockSpec, vocab_size: int, image_token_id: int | None, tokenizer: Callable[[], ChatTokenizer]
    ) -> None:
        self._spec, self._size, self._image, self._tokenizer = spec, vocab_size, image_token_id, tokenizer
        self._compiled: Recent[str, Compiled] = Recent(KEPT)

    def compile(self, schema: Any) -> Compiled:
        """See `edge.engine.Engine.constraint`."""
        if isinstance(schema, Compiled):
            return schema
        if isinstance(schema, Template):
            return self._template(schema)
        if isinstance(schema, dict) and set(schema) == {TEMPLATE_KEY}:
            return self._template(_template(schema[TEMPLATE_KEY]))
        if not (isinstance(schema, dict) or (isinstance(schema, type) and issubclass(schema, BaseModel))):
            raise UnsupportedError(
                f"schema must be a JSON schema, a pydantic model class, a Template or a compiled one: got {type(schema).__name__}"
            )
        try:
            made = template(schema)
        except SchemaError as e:
            if not e.unbounded:
                raise
        else:
            return self._template(made)
        return self._compiled.get(json.dumps(plain(schema), default=repr), lambda: unbounded.compile(schema, self._vocabulary))

    def _template(self, made: Template) -> Compiled:
        def compiled() -> Compiled:
            spec = self._spec
            stop = spec.stop_ids[0] if spec.stop_ids else None
            return build(made, self._tokenizer(), vocab_size=self._size, pad_token_id=spec.pad_token_id, stop_id=stop)

        return self._compiled.get(made.model_dump_json(), compiled)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        """The tokenizer for grammars."""
        spec, size = self._spec, self._size
        ids = (*spec.stop_ids, spec.mask_token_id, spec.pad_token_id, self._image)
        never = [i for i in ids if i is not None]
        size = min(size, spec.vocab_limit or size)
        stop = spec.stop_ids[0] if spec.stop_ids else None
        return Vocabulary(self._tokenizer(), vocab_size=size, stop_id=stop, never=never)


def _template(found: Any) -> Template:
    try:
        return Template.model_validate(found)
    except ValidationError as e:
        raise InputError(f"{TEMPLATE_KEY}: {explain(e)}") from None
