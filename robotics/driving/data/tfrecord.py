"""TFRecord files without TensorFlow: length-framed records with checksums, and what to do when they do not hold.

A record is  length (u64, little endian) | masked crc of the length | payload | masked crc of the payload.  What is damaged becomes
a `Damage` at its byte offset, and reading goes on at the next place where a record stands *by both of its checksums*: a length that
is right by chance has odds of 1 in 2^64. Nothing of what a damaged file says is believed before it is checked, so a broken length
never makes a large allocation.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from robotics.driving.damage import Damage
from robotics.driving.data.crc32c import masked_crc32c, masked_of_words

HEAD, TAIL = 12, 4
"""Bytes before and after a payload."""

SCAN = 1 << 20
"""Bytes looked at in one go when a record has to be found again."""


@dataclass(frozen=True, slots=True)
class Record:
    """An intact record. offset: of its length field, bytes."""

    offset: int
    payload: bytes


def write_records(path: str | Path, payloads: Iterable[bytes]) -> None:
    """Write a TFRecord file of these payloads."""
    with Path(path).open("wb") as f:
        for payload in payloads:
            f.write(framed(payload))


def framed(payload: bytes) -> bytes:
    """One record as it stands in a file."""
    length = struct.pack("<Q", len(payload))
    return b"".join((length, struct.pack("<I", masked_crc32c(length)), payload, struct.pack("<I", masked_crc32c(payload))))


def read_records(path: str | Path) -> Iterator[Record | Damage]:
    """Records of a file in order, with a Damage for every stretch that holds none. Never raises for what the file holds or for a
    file that cannot be read."""
    path = Path(path)
    try:
        with path.open("rb") as f:
            size = f.seek(0, 2)
            yield from _walk(path.name, f, size)
    except OSError as e:
        yield Damage(f"{path.name}@0", f"cannot be read: {e.strerror or e}")


def _walk(name: str, f: BinaryIO, size: int) -> Iterator[Record | Damage]:
    at = 0
    while at < size:
        found = _record_at(f, at, size)
        if isinstance(found, Record):
            yield found
            at += HEAD + len(found.payload) + TAIL
            continue
        reason, end = found
        after = end if end is not None and (end == size or _length_at(f, end, size) is not None) else _next(f, at + 1, size)
        rest = (
            "read on after it"
            if after == end
            else f"{after - at} bytes lost" + ("" if after < size else ", to the end of the file")
        )
        yield Damage(f"{name}@{at}", f"{reason}; {rest}")
        at = after


def _record_at(f: BinaryIO, at: int, size: int) -> Record | tuple[str, int | None]:
    """The record at `at`, or why there is none and where it would have ended if its length can be believed."""
    length = _length_at(f, at, size)
    if length is None:
        if size - at < HEAD:
            return f"record header is cut short: {size - at} of {HEAD} bytes", None
        return "length checksum does not match: the length of the record is not known", None
    if length > size - at - HEAD - TAIL:
        return f"record is cut short: {size - at - HEAD} of {length + TAIL} bytes", None
    f.seek(at + HEAD)
    payload = f.read(length)
    stored = f.read(TAIL)
    if len(payload) + len(stored) != length + TAIL:
        return "record is cut short: the file shrank while it was read", None
    if struct.unpack("<I", stored)[0] != masked_crc32c(payload):
        return f"payload checksum does not match: {length} bytes", at + HEAD + length + TAIL
    return Record(at, payload)


def _length_at(f: BinaryIO, at: int, size: int) -> int | None:
    """The length of a record at `at` whose own checksum holds."""
    if size - at < HEAD:
        return None
    f.seek(at)
    head = f.read(HEAD)
    if len(head) < HEAD or struct.unpack("<I", head[8:])[0] != masked_crc32c(head[:8]):
        return None
    return struct.unpack("<Q", head[:8])[0]


def _next(f: BinaryIO, start: int, size: int) -> int:
    """The first offset from `start` on at which a whole record stands, or `size`."""
    for base in range(start, size - HEAD + 1, SCAN):
        f.seek(base)
        chunk = np.frombuffer(f.read(SCAN + HEAD - 1), dtype=np.uint8)
        if chunk.size < HEAD:
            return size
        words = np.lib.stride_tricks.sliding_window_view(chunk, HEAD)
        stored = words[:, 8:].astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16, 1 << 24], dtype=np.uint32)
        for k in np.flatnonzero(stored == masked_of_words(words)):
            if isinstance(_record_at(f, base + int(k), size), Record):
                return base + int(k)
    return size
