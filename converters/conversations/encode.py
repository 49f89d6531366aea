"""Conversations to samples of one checkpoint: chat template, placeholders of pictures, what the model is to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from converters.conversations.account import Account, Dropped
from converters.conversations.corpus import Conversations
from converters.conversations.records import Conversation
from converters.methods.views import Sample
from edge.core.errors import InputError, UnsupportedError
from edge.models.hf import TransformersModel
from edge.models.text import ChatTokenizer


@dataclass(frozen=True)
class Encoded:
    """number: of the record; pictures: keyword arguments of the model's `get_image_features`, empty without pictures; images: how
    many there are.
    """

    number: int
    sample: Sample
    pictures: dict[str, Tensor]
    images: int


Sees = Callable[[Sequence[Any]], tuple[dict[str, Tensor], Sequence[int]]]
"""Pictures to what the tower takes, and rows of each."""


class Encoder:
    """longest: tokens of a sample; sees: None for a model of text."""

    def __init__(self, tokenizer: ChatTokenizer, sees: Sees | None, longest: int) -> None:
        if longest < 2:
            raise InputError(f"the longest sample must have at least 2 tokens: got {longest}")
        self.tokenizer, self.longest = tokenizer, longest
        self._sees = sees
        self._special = sorted(tokenizer.special)

    @classmethod
    def of(cls, backbone: TransformersModel, tokenizer: ChatTokenizer, longest: int) -> Encoder:
        """Raises InputError where `longest` is more than the model takes."""
        if longest > backbone.max_positions:
            raise InputError(f"the longest sample may have {backbone.max_positions} tokens in this model: got {longest}")

        def sees(images: Sequence[Any]) -> tuple[dict[str, Tensor], Sequence[int]]:
            inputs = backbone.processed(images)
            grids = inputs.get("image_grid_thw")
            if grids is None:
                return inputs, backbone.encode_images(images).counts
            merge = backbone.model.config.vision_config.spatial_merge_size
            return inputs, [int(g.prod()) // merge**2 for g in grids]

        return cls(tokenizer, sees if hasattr(backbone.model, "get_image_features") else None, longest)

    def __call__(self, conversation: Conversation, images: Sequence[Any]) -> Encoded:
        """Raises Dropped."""
        self._plain(conversation)
        try:
            pictures, rows = self._look(images)
            ids, answer = self.tokenizer.turns(conversation.messages, rows)
        except (InputError, UnsupportedError) as e:
            raise Dropped("refused", str(e)[:200]) from None
        if len(ids) > self.longest:
            raise Dropped("too long", f"{len(ids)} tokens, the longest may have {self.longest}")
        tokens = torch.tensor(ids)
        vision = tokens == (-1 if self.tokenizer.image_token_id is None else self.tokenizer.image_token_id)
        return Encoded(conversation.number, Sample(tokens, torch.tensor(answer), vision), pictures, len(images))

    def _look(self, images: Sequence[Any]) -> tuple[dict[str, Tensor], Sequence[int]]:
        if not images:
            return {}, ()
        if self._sees is None:
            raise InputError("it has pictures and the model has no eyes")
        return self._sees(images)

    def _plain(self, conversation: Conversation) -> None:
        """Words that spell a special token would be read as it: an end, a picture, a mask that nobody put there."""
        for n, message in enumerate(conversation.messages, start=1):
            for part in message["content"]:
                found = next((s for s in self._special if s in part.get("text", "")), None)
                if found is not None:
                    raise Dropped("special token", f"turn {n}: {found!r}")


def usable(corpus: Conversations, encoder: Encoder, account: Account) -> Iterator[Encoded | None]:
    """Every record, None in place of one that cannot be used; `account` gets them all.

    Raises InputError past the account's share, and at the end of a file of which nothing is left.
    """
    for index in range(len(corpus)):
        try:
            conversation = corpus.read(index)
            encoded = encoder(conversation, corpus.pictures(conversation))
        except Dropped as why:
            account.drop(corpus.number(index), why)
            yield None
        else:
            account.keep()
            yield encoded
    account.judge()
