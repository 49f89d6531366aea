"""Tokenizer and chat form of a checkpoint, through `transformers`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import AddedToken, AutoTokenizer

from edge.core.errors import CheckpointError, InputError, UnsupportedError

Message = dict[str, Any]
"""`{"role": ..., "content": text | [{"type": "text", "text": ...} | {"type": "image"}, ...]}`"""


class ChatTokenizer:
    """Text to ids for one checkpoint. Implements `edge.core.types.Tokenizer`."""

    def __init__(self, tokenizer: Any, image_token_id: int | None) -> None:
        self._hf = tokenizer
        self.image_token_id = image_token_id

    @classmethod
    def load(cls, path: Path, image_token_id: int | None) -> ChatTokenizer:
        """Raises CheckpointError when the folder has no readable tokenizer."""
        try:
            return cls(AutoTokenizer.from_pretrained(path, local_files_only=True), image_token_id)
        except Exception as e:  # transformers raises half a dozen types here; all mean the same to the caller
            reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
            raise CheckpointError(f"{path}: cannot read the tokenizer ({reason}); copy it from the base model") from e

    def __len__(self) -> int:
        """Ids, special ones included."""
        return len(self._hf)

    def encode(self, text: str) -> list[int]:
        return self._hf.encode(text, add_special_tokens=False)

    def decode(self, ids: list[int]) -> str:
        return self._hf.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def token_bytes(self) -> list[bytes | None] | None:
        """For every id its bytes, None for special and unused ones; None for all where the tokenizer is no byte-level BPE."""
        backend = getattr(self._hf, "backend_tokenizer", None)
        if backend is None or '"ByteLevel"' not in json.dumps(json.loads(backend.to_str())["decoder"]):
            return None
        added = self._hf.added_tokens_decoder
        names = self._hf.convert_ids_to_tokens(list(range(len(self._hf))))
        return [bytes_of(name) if i not in added else None if added[i].special else name.encode() for i, name in enumerate(names)]

    def chat(self, messages: Sequence[Message], image_tokens: Sequence[int]) -> list[int]:
        """Ids of a conversation up to where the assistant's answer starts; image i takes `image_tokens[i]` placeholder ids.

        Raises InputError for a malformed conversation or when the number of images in it is not that of `image_tokens`.
        """
        _check(messages)
        ids = self.encode(self._text(messages, True))
        return [t for t, k in zip(ids, self._times(ids, image_tokens), strict=True) for _ in range(k)]

    def turns(self, messages: Sequence[Message], image_tokens: Sequence[int]) -> tuple[list[int], list[bool]]:
        """Ids of a whole conversation up to its last answer's end, and which of them the assistant writes: its answers, each with
        the token that ends it.

        An answer is encoded apart from what comes before it, as it is when a model writes it. A template that ends answers with no
        special token gets the tokenizer's end-of-sequence. Raises InputError as `chat` does, for a conversation that the template
        refuses, and for a template that writes a turn otherwise once another follows.
        """
        _check(messages)
        ids: list[int] = []
        own: list[bool] = []
        done = ""  # what of the template's text is encoded
        for n, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before, after = self._text(messages[:n], True), self._text(messages[: n + 1], False)
            if not before.startswith(done) or not after.startswith(before):
                raise InputError(f"message {n}: the chat template writes what comes before it otherwise when it follows")
            said = after[len(before) :].rstrip()
            prompt, answer = self.encode(before[len(done) :]), self.encode(said)
            if not answer or answer[-1] not in self._hf.all_special_ids:
                answer.append(self._hf.eos_token_id)
            ids += prompt + answer
            own += [False] * len(prompt) + [True] * len(answer)
            done = before + said
        times = self._times(ids, image_tokens)
        spread = [(t, o) for t, o, k in zip(ids, own, times, strict=True) for _ in range(k)]
        return [t for t, _ in spread], [o for _, o in spread]

    def named(self, name: str) -> tuple[int, bool]:
        """Id of the special token of that name, and whether it is new: a vocabulary without it gets it, behind its last id."""
        have = self._hf.get_vocab().get(name)
        if have is not None:
            return have, False
        self._hf.add_tokens([AddedToken(name, special=True, normalized=False)], special_tokens=True)
        return self._hf.convert_tokens_to_ids(name), True

    def save(self, path: Path) -> None:
        """Into a checkpoint's folder."""
        self._hf.save_pretrained(path)

    @property
    def special(self) -> frozenset[str]:
        """Names of the tokens that words must not spell."""
        return frozenset(t.content for t in self._hf.added_tokens_decoder.values() if t.special)

    def _text(self, messages: Sequence[Message], answers: bool) -> str:
        """answers: whether the assistant's turn is begun at the end."""
        if self._hf.chat_template is None:
            raise UnsupportedError("this tokenizer has no chat template; pass the prompt as token ids")
        try:
            return self._hf.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=answers)
        except TemplateError as e:
            raise InputError(f"the chat template refuses the messages: {e}") from None

    def _times(self, ids: Sequence[int], image_tokens: Sequence[int]) -> list[int]:
        """How often each id stands: a placeholder as often as its image has rows."""
        places = sum(i == self.image_token_id for i in ids) if self.image_token_id is not None else 0
        if places != len(image_tokens):
            raise InputError(
                f"the messages hold {places} image parts and {len(image_tokens)} images were given: "
                'put one {"type": "image"} part where each image goes'
            )
        counts = iter(image_tokens)
        return [next(counts) if i == self.image_token_id else 1 for i in ids]


def _byte_letters() -> dict[str, int]:
    """The letters that byte-level BPE (GPT-2) writes bytes in: each itself where it can be seen, the others those from 256 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in seen]
    return {chr(b): b for b in seen} | {chr(256 + n): b for n, b in enumerate(rest)}


_LETTERS = _byte_letters()


def bytes_of(name: str | None) -> bytes | None:
    """The bytes of a byte-level token; None for a hole in the vocabulary, or a name that is not written in such letters."""
    if not name or any(c not in _LETTERS for c in name):
        return None
    return bytes(_LETTERS[c] for c in name)


def _check(messages: Sequence[Message]) -> None:
    if not messages:
        raise InputError("the prompt has no messages: give at least one user message")
    for n, m in enumerate(messages):
        if not isinstance(m, dict) or m.get("role") not in ("system", "user", "assistant"):
            role = m.get("role") if isinstance(m, dict) else m
            raise InputError(f"message {n}: role must be 'system', 'user' or 'assistant': got {role!r}")
        content = m.get("content")
        if isinstance(content, str):
            continue
        if not isinstance(content, list):
            raise InputError(f"message {n}: content must be text or a list of parts: got {type(content).__name__}")
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else part
            if kind not in ("text", "image"):
                raise InputError(f"message {n}: a part must be of type 'text' or 'image': got {kind!r}")
