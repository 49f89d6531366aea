"""Files of conversations: JSONL, of which only the offsets are kept in memory, or one JSON array as LLaVA publishes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

from converters.conversations.account import Dropped
from converters.conversations.records import Conversation, read
from edge.core.errors import InputError
from edge.models.images import read_image


class Conversations:
    """Records of a file, read one by one. `len` counts them, bad ones included; blank lines are none."""

    def __init__(self, path: str | Path, images: str | Path | None = None) -> None:
        """images: the folder that names of pictures are relative to; the file's own where left out.

        Raises InputError for a file that is not there, is empty, or is a JSON file without an array.
        """
        self.path = Path(path)
        self.images = self.path.parent if images is None else Path(images)
        try:
            with self.path.open("rb") as file:
                start = file.read(1)
                while start.isspace():
                    start = file.read(1)
        except OSError as e:
            raise InputError(f"{self.path}: cannot be read ({e.strerror}); give a .jsonl or .json file of conversations") from None
        if not start:
            raise InputError(f"{self.path}: is empty; give one conversation a line")
        if not self.images.is_dir():
            raise InputError(f"{self.images}: no such folder of pictures")
        self._array = self._whole() if start == b"[" else None
        self._offsets = np.zeros(0, np.int64) if self._array is not None else self._scan()

    def __len__(self) -> int:
        return len(self._offsets) if self._array is None else len(self._array)

    def _whole(self) -> list[Any]:
        try:
            return json.loads(self.path.read_bytes())
        except (ValueError, RecursionError) as e:
            raise InputError(f"{self.path}: begins as a JSON array and is none ({e}); write the file again") from None

    def _scan(self) -> Any:
        """int64 [N]: where each line begins."""
        at, found, numbers = 0, [], []
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    found.append(at)
                    numbers.append(number)
                at += len(line)
        self._numbers = np.array(numbers, np.int64)
        return np.array(found, np.int64)

    def number(self, index: int) -> int:
        """What the record at `index` (from 0) is called in messages: its line, or its place in the array, from 1."""
        return index + 1 if self._array is not None else int(self._numbers[index])

    def read(self, index: int) -> Conversation:
        """Raises Dropped for a record that cannot be used."""
        number = self.number(index)
        if self._array is not None:
            return read(self._array[index], number)
        with self.path.open("rb") as file:
            file.seek(int(self._offsets[index]))
            line = file.readline()
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as e:  # bad UTF-8 is a ValueError, brackets without end a RecursionError
            raise Dropped("unreadable", str(e)[:100]) from None
        return read(record, number)

    def pictures(self, conversation: Conversation) -> list[Image.Image]:
        """Decoded, RGB. Raises Dropped."""
        out = []
        for name in conversation.images:
            parts = urlsplit(name)
            if parts.scheme not in ("", "file"):
                raise Dropped("missing file", f"{name[:60]}: only files are read; fetch it first")
            path = self.images / (unquote(parts.path) if parts.scheme else name)
            try:
                there = path.is_file()
            except (OSError, ValueError):  # a name that no file system takes
                there = False
            if not there:
                raise Dropped("missing file", name[:100])
            try:
                out.append(read_image(path))
            except (InputError, Image.DecompressionBombError) as e:
                raise Dropped("corrupt picture", f"{name[:100]}: {str(e).split(': ', 1)[-1]}") from None
        return out
