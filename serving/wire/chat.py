"""Requests of OpenAI's chat and text completions, as far as they are honoured. Whatever is not named here is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from edge.course import MOST_LOGPROBS
from edge.stopping import LONGEST


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no character") from None
    return text


Text = Annotated[str, StringConstraints(strict=True), AfterValidator(_whole)]
StopString = Annotated[str, StringConstraints(strict=True, min_length=1), AfterValidator(_whole)]
Stop = StopString | Annotated[list[StopString], Field(max_length=LONGEST)]


class Wire(BaseModel):
    """Base of all bodies: unknown fields, numbers in strings, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())


class ImageUrl(Wire):
    url: Text
    """`data:image/...;base64,...`, or a path or address where the server's settings allow it."""
    detail: Literal["auto"] = "auto"


class TextPart(Wire):
    type: Literal["text"]
    text: Text


class ImagePart(Wire):
    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(Wire):
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[Part], Field(min_length=1)]


class JsonSchema(Wire):
    name: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64)] = "answer"
    description: Text | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None
    """Answers follow the schema either way."""


class ResponseFormat(Wire):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _schema_where_one_is_needed(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema is given with type 'json_schema', and only with it")
        return self

    @property
    def schema_of_answer(self) -> dict[str, Any] | None:
        if self.json_schema is not None:
            return self.json_schema.schema_
        return {"type": "object"} if self.type == "json_object" else None


class StreamOptions(Wire):
    include_usage: bool = False


class Edge(Wire):
    """What OpenAI's interface has no words for."""

    strategy: Text = "self-spec"
    """ar, self-spec, fused, threshold, ...; the reply says whether it is lossless."""
    options: dict[str, int | float | bool | str] = Field(default_factory=dict)
    """The strategy's own, such as block_size."""
    deadline_ms: Annotated[float, Field(ge=0, le=1e9, strict=True)] | None = None
    sections: list[Text] | None = None
    """Sections of the schema that have to be there; others are skipped when time runs short."""
    fork_at: Text | None = None
    """Section at which the `n` choices part, after a greedy beginning that they share. By default they share the prompt alone."""
    trace: bool = False
    """Tell in the reply what every forward did."""
    stream: Literal["committed", "canvas"] = "committed"
    """canvas: chunks also tell of every forward, guesses and all."""


class Sampling(Wire):
    """What chat and text completions have in common."""

    model: Text | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1 << 20, strict=True)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, strict=True)] = 0.0
    """0, the default, is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1, strict=True)] = 1.0
    n: Annotated[int, Field(ge=1, le=16, strict=True)] = 1
    seed: Annotated[int, Field(ge=0, lt=1 << 62, strict=True)] = 0
    stop: Stop | None = None
    stream: Annotated[bool, Field(strict=True)] = False
    stream_options: StreamOptions | None = None
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    user: Text | None = None
    """Goes into the log."""
    edge: Edge = Field(default_factory=Edge)  # made anew: copying a default takes ten times as long

    @property
    def stops(self) -> tuple[str, ...]:
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @model_validator(mode="after")
    def _stream_options_of_streams(self) -> Sampling:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options are those of a stream: set stream to true, or leave them out")
        if self.edge.stream == "canvas" and not self.stream:
            raise ValueError("edge.stream is about streams: set stream to true, or leave it out")
        return self


class ChatRequest(Sampling):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=1 << 20, strict=True)] | None = None
    logprobs: Annotated[bool, Field(strict=True)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS, strict=True)] | None = None
    response_format: ResponseFormat | None = None

    @model_validator(mode="after")
    def _one_limit_and_logprobs_first(self) -> ChatRequest:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_tokens and max_completion_tokens mean the same: give one of them")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: set logprobs to true")
        return self

    @property
    def limit(self) -> int | None:
        return self.max_tokens if self.max_tokens is not None else self.max_completion_tokens

    @property
    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def schema_of_answer(self) -> dict[str, Any] | None:
        return None if self.response_format is None else self.response_format.schema_of_answer


class CompletionRequest(Sampling):
    """`POST /v1/completions`. prompt: text, or token ids."""

    prompt: Text | Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=5, strict=True)] | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None

    @property
    def limit(self) -> int:
        """OpenAI's own default is 16."""
        return 16 if self.max_tokens is None else self.max_tokens

    @property
    def alternatives(self) -> int | None:
        return self.logprobs

    @property
    def schema_of_answer(self) -> None:
        return None
