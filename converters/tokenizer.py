"""A small byte-level BPE for nano models, saved as a Qwen2 tokenizer that `transformers.AutoTokenizer` loads.

Digits, '+', '-' and '.' are always tokens of their own: fixed-width numbers need one row per character, and a token that holds
two digits would tie their fates together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer, Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from edge.core.errors import CheckpointError, InputError

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END, IMAGE, VIDEO = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
MASK, NULL = "<|MASK|>", "<|NULL|>"
SPECIAL = (END, START, STOP, VISION_START, VISION_END, IMAGE, VIDEO, MASK, NULL)

ALONE = r"[0-9+\-.]"
"""Characters that never join a longer token."""

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
    "{% if p.type == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ p.text }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The form of Qwen2.5-VL without its default system turn: a nano planner has no use for one."""


class NanoTokenizer:
    """Text to ids without special tokens added. Implements `edge.core.types.Tokenizer`."""

    def __init__(self, hf: Any) -> None:
        self.hf = hf

    @classmethod
    def load(cls, folder: str | Path) -> NanoTokenizer:
        """Raises CheckpointError when the folder has no readable tokenizer."""
        try:
            return cls(AutoTokenizer.from_pretrained(folder, local_files_only=True))
        except Exception as e:  # transformers raises half a dozen types here; all mean the same to the caller
            reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
            raise CheckpointError(f"{folder}: cannot read the tokenizer ({reason}); copy it from the base model") from e

    def __len__(self) -> int:
        return len(self.hf)

    def encode(self, text: str) -> list[int]:
        return self.hf.encode(text, add_special_tokens=False)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Many texts at once, on all cores."""
        return self.hf(list(texts), add_special_tokens=False)["input_ids"]

    def decode(self, ids: list[int]) -> str:
        return self.hf.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def id(self, token: str) -> int:
        """Raises CheckpointError for a token that the vocabulary does not hold."""
        found = self.hf.get_vocab().get(token)
        if found is None:
            raise CheckpointError(f"the tokenizer has no token {token!r}; train it with converters.tokenizer or add the token")
        return found


def train(texts: Iterable[str], folder: str | Path, *, vocab_size: int = 512, literals: Sequence[str] = ()) -> NanoTokenizer:
    """Train on `texts`, write the folder and load it back the way every user of the checkpoint will.

    vocab_size: of all ids; literals: texts that become one token each. Raises InputError when the fixed tokens alone need more.
    """
    literals = list(dict.fromkeys(literals))
    merged = vocab_size - len(SPECIAL) - len(literals)
    if merged < 256:
        raise InputError(f"vocab_size must hold 256 bytes and {vocab_size - merged} fixed tokens: got {vocab_size}")
    backend = Backend(models.BPE())
    backend.normalizer = normalizers.NFC()
    # `transformers` puts Qwen2's own pre-tokenizer in place of this one when it loads the folder. That is harmless because the
    # characters kept alone here appear in no merge: however the text is cut later, nothing can join them.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(ALONE), "isolated"),
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=merged, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), special_tokens=[], show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    backend.add_tokens(literals)
    backend.add_special_tokens(list(SPECIAL))
    hf = Qwen2Tokenizer(
        tokenizer_object=backend,
        eos_token=STOP,
        pad_token=END,
        extra_special_tokens=[t for t in SPECIAL if t not in (END, STOP)],
        chat_template=CHAT_TEMPLATE,
    )
    hf.save_pretrained(folder)
    return NanoTokenizer.load(folder)
