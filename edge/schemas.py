"""Schemas of requests as what a checkpoint's decoding follows: compiled once, kept for requests to come."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from decoding import unbounded
from decoding.flow import Flow
from decoding.grammar import Grammar, GrammarRows
from decoding.scaffold import Scaffold
from decoding.schema import SchemaError, build, plain, template
from decoding.template import Template
from decoding.vocabulary import Vocabulary
from edge.core.errors import UnsupportedError
from edge.core.recent import Recent
from edge.models.backbone import Backbone
from edge.models.text import ChatTokenizer

KEPT = 64
"""Compiled schemas that are kept."""
Constrained = Scaffold | Flow | GrammarRows | None
Compiled = Scaffold | Flow | Grammar


class Schemas:
    """Compiles for one checkpoint. tokenizer: gives its tokenizer, when one is needed for the first time."""

    def __init__(self, backbone: Backbone, tokenizer: Callable[[], ChatTokenizer]) -> None:
        self._backbone, self._tokenizer = backbone, tokenizer
        self._compiled: Recent[str, Compiled] = Recent(KEPT)

    def compile(self, schema: Any) -> Compiled:
        """See `edge.engine.Engine.constraint`."""
        if isinstance(schema, Compiled):
            return schema
        if isinstance(schema, Template):
            return self._template(schema)
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
            spec = self._backbone.spec
            stop = spec.stop_ids[0] if spec.stop_ids else None
            size = self._backbone.vocab_size
            return build(made, self._tokenizer(), vocab_size=size, pad_token_id=spec.pad_token_id, stop_id=stop)

        return self._compiled.get(made.model_dump_json(), compiled)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        """The tokenizer for grammars."""
        spec, size = self._backbone.spec, self._backbone.vocab_size
        ids = (*spec.stop_ids, spec.mask_token_id, spec.pad_token_id, self._backbone.image_token_id)
        never = [i for i in ids if i is not None]
        size = min(size, spec.vocab_limit or size)
        stop = spec.stop_ids[0] if spec.stop_ids else None
        return Vocabulary(self._tokenizer(), vocab_size=size, stop_id=stop, never=never)
