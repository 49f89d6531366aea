"""What bytes every token id stands for, and the same told to `llguidance`, which decides what a grammar lets follow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from torch import Tensor

from edge.core.errors import UnsupportedError
from edge.core.types import Tokenizer


@runtime_checkable
class KnowsBytes(Protocol):
    """A tokenizer that can tell what its ids stand for even where one holds a part of a character."""

    def encode(self, text: str) -> list[int]: ...

    def token_bytes(self) -> Sequence[bytes | None] | None:
        """For every id its bytes, None for one that stands for no text (special, unused); or None if it cannot tell."""
        ...


class Vocabulary:
    """A tokenizer as `llguidance` wants it. pieces: bytes of every id, None for ids that never stand in an answer.

    Building takes about a microsecond for each id, so one is kept for a checkpoint.
    """

    def __init__(self, tokenizer: Tokenizer, *, vocab_size: int, stop_id: int | None, never: Sequence[int] = ()) -> None:
        """stop_id: ends the answer; never: ids that are not text, whatever the tokenizer says (mask, padding, images).

        Raises UnsupportedError without a stop token, or for a tokenizer that does not know the bytes of its ids.
        """
        if stop_id is None:
            raise UnsupportedError("a schema with unbounded parts needs a stop token: BlockSpec.stop_ids is empty")
        self.size, self.stop = vocab_size, stop_id
        if not isinstance(tokenizer, KnowsBytes) or (told := tokenizer.token_bytes()) is None:
            raise UnsupportedError(
                "a schema with unbounded parts needs a byte-level tokenizer (as Qwen's is); give bounds to all its parts"
            )
        out = {stop_id, *never}
        self.pieces = [told[i] or None if i < len(told) and i not in out else None for i in range(vocab_size)]
        spoken = TokenizerWrapper(_Spoken(tokenizer, self.pieces, stop_id))
        slices = LLTokenizer.json_slices()
        self._table = LLTokenizer(spoken, n_vocab=vocab_size, eos_token=stop_id, slices=slices)

    def grammar(self, schema: dict[str, Any], form: Any) -> str:
        """A JSON schema as `llguidance` writes grammars, written in a form of JSON; not checked."""
        return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=form)

    def error(self, grammar: str) -> str:
        """Why a grammar cannot be used, in one line; empty when it can."""
        wrong, messages = LLMatcher.validate_grammar_with_warnings(grammar, self._table)
        return " ".join(messages[0].split()) if wrong else ""

    def matcher(self, grammar: str) -> Any:
        """The beginning of an answer: an `llguidance.LLMatcher`, silent about errors."""
        return LLMatcher(self._table, grammar, log_level=0)

    def ids(self, mask: bytes) -> Tensor:
        """Ids int64 [n], ascending, of a mask with one bit for each."""
        bits = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")[: self.size]
        return torch.from_numpy(bits.nonzero()[0])


class _Spoken:
    """What `llguidance` asks of a tokenizer, by its names."""

    bos_token_id = None

    def __init__(self, tokenizer: KnowsBytes, pieces: Sequence[bytes | None], stop_id: int) -> None:
        self._encode, self._pieces, self.eos_token_id = tokenizer.encode, pieces, stop_id
        self.tokens = [b or b"" for b in pieces]
        self.special_token_ids = [i for i, b in enumerate(pieces) if b is None]
        self._single = {b[0]: i for i, b in enumerate(pieces) if b is not None and len(b) == 1}

    def __call__(self, text: bytes) -> list[int]:
        """Literal text as ids. Text that reads like a special token, or that the tokenizer would alter, goes byte by byte."""
        ids = self._encode(text.decode())
        if b"".join(self._pieces[i] or b"\xff" for i in ids) == text:
            return ids
        return [self._single[b] for b in text if b in self._single]
