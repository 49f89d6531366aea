"""Generations in OpenAI's words: completions, chunks of streams, usage. What OpenAI has no words for stands under `edge`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from decoding.logprobs import TokenLogprob
from edge.generation import Generation

Text = Callable[[int], str]
"""What a token reads."""


@dataclass(frozen=True, slots=True)
class Form:
    """The frame of all replies to one request. chat: a chat completion rather than a text one."""

    chat: bool
    model: str
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def new(cls, chat: bool, model: str) -> Form:
        return cls(chat, model, f"{'chatcmpl' if chat else 'cmpl'}-{os.urandom(16).hex()}")

    def whole(self, answers: Sequence[Generation], generation: Generation, extra: dict[str, Any], text: Text) -> dict[str, Any]:
        """The reply to a request that is not streamed. generation: what it cost as a whole."""
        return {
            "id": self.id,
            "object": "chat.completion" if self.chat else "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": [self._choice(n, a, text) for n, a in enumerate(answers)],
            "usage": usage(answers, generation),
            "edge": told(answers, generation) | extra,
        }

    def _choice(self, index: int, answer: Generation, text: Text) -> dict[str, Any]:
        said: dict[str, Any] = {"message": {"role": "assistant", "content": answer.text}} if self.chat else {"text": answer.text}
        return {
            "index": index,
            **said,
            "logprobs": self._logprobs(answer.logprobs, text),
            "finish_reason": finish_reason(answer),
        }

    def _logprobs(self, found: tuple[TokenLogprob, ...] | None, text: Text) -> dict[str, Any] | None:
        if found is None:
            return None
        return chat_logprobs(found, text) if self.chat else text_logprobs(found, text)

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices, **more}

    def delta(self, index: int, text: str, first: bool) -> dict[str, Any]:
        """A chunk with more text of a choice."""
        role = {"role": "assistant"} if first else {}
        said: dict[str, Any] = {"delta": role | {"content": text}} if self.chat else {"text": text}
        return self.chunk([{"index": index, **said, "logprobs": None, "finish_reason": None}])

    def last(self, index: int, answer: Generation, text: Text) -> dict[str, Any]:
        """The chunk that ends a choice; its log-probabilities, if any were asked for, come with it."""
        said: dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
        logprobs = self._logprobs(answer.logprobs, text)
        return self.chunk([{"index": index, **said, "logprobs": logprobs, "finish_reason": finish_reason(answer)}])


def finish_reason(answer: Generation) -> str:
    """OpenAI's word. An answer that a deadline cut short is whole where a schema ended it, and otherwise too short."""
    if answer.finish_reason == "deadline":
        return "stop" if answer.skipped_sections else "length"
    return answer.finish_reason


def usage(answers: Sequence[Generation], generation: Generation) -> dict[str, Any]:
    prompt, completion = generation.prompt_tokens, sum(len(a.tokens) for a in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": generation.cached_tokens},
        "forwards": generation.forwards,
    }


def told(answers: Sequence[Generation], generation: Generation) -> dict[str, Any]:
    return {
        "lossless": all(a.lossless for a in answers),
        "finish_reasons": [a.finish_reason for a in answers],
        "forwards": generation.forwards,
        "rows": generation.rows,
        "open_tokens": sum(a.open_tokens for a in answers),
        "skipped_sections": list(generation.skipped_sections),
        "timings": {k: round(v, 3) for k, v in generation.timings.items()},
    }


def chat_logprobs(found: Sequence[TokenLogprob], text: Text) -> dict[str, Any]:
    def one(token: int, logprob: float) -> dict[str, Any]:
        said = text(token)
        return {"token": said, "logprob": logprob, "bytes": list(said.encode())}

    return {
        "content": [one(f.token, f.logprob) | {"top_logprobs": [one(t, x) for t, x in f.top]} for f in found],
        "refusal": None,
    }


def text_logprobs(found: Sequence[TokenLogprob], text: Text) -> dict[str, Any]:
    tokens = [text(f.token) for f in found]
    offsets = [sum(map(len, tokens[:n])) for n in range(len(tokens))]
    return {
        "tokens": tokens,
        "token_logprobs": [f.logprob for f in found],
        "top_logprobs": [{text(t): x for t, x in f.top} for f in found],
        "text_offset": offsets,
    }
