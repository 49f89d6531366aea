"""Checksums against their definition and published values; records damaged in every way, of which none may be fatal or silent."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotics.driving.damage import Damage
from robotics.driving.data import tfrecord
from robotics.driving.data.crc32c import crc32c, crc32c_bytewise, mask, masked_crc32c, masked_of_words
from robotics.driving.data.tfrecord import Record, framed, read_records, write_records

CASES = 150 if os.environ.get("EDGE_CASES") == "small" else 2000


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0xE3069283),  # the check value of the CRC catalogue
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_values(data: bytes, crc: int) -> None:
    assert crc32c_bytewise(data) == crc32c(data) == crc


@settings(deadline=None, max_examples=CASES // 5)
@given(st.integers(0, 70_000), st.integers(0, 2**32))
def test_lanes_agree_with_the_slow_twin(length: int, seed: int) -> None:
    data = np.random.default_rng(seed).bytes(length)
    assert crc32c(data) == crc32c_bytewise(data)


def test_a_long_message_agrees_too() -> None:
    data = np.random.default_rng(1).bytes(5_000_017)
    assert crc32c(data) == crc32c_bytewise(data)


def test_words_side_by_side() -> None:
    words = np.random.default_rng(0).integers(0, 256, (50, 8), dtype=np.uint8)
    assert masked_of_words(words).tolist() == [masked_crc32c(w.tobytes()) for w in words]


def test_framing_byte_by_byte() -> None:
    """The layout written out by hand."""
    head = (3).to_bytes(8, "little")
    expected = head + struct.pack("<I", mask(crc32c_bytewise(head))) + b"abc" + struct.pack("<I", mask(crc32c_bytewise(b"abc")))
    assert framed(b"abc") == expected
    assert mask(0) == 0xA282EAD8
    assert mask(0x12345678) == (((0x12345678 >> 15) | (0x12345678 << 17)) + 0xA282EAD8) & 0xFFFFFFFF


# --- damage -----------------------------------------------------------------------------------------------------------------


def payloads(seed: int = 0, sizes: tuple[int, ...] = (40, 0, 5000, 7, 900)) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [rng.bytes(n) for n in sizes]


def starts(data: list[bytes]) -> list[int]:
    return [0, *np.cumsum([len(framed(p)) for p in data])[:-1].tolist()]


def read(path: Path, content: bytes) -> list[Record | Damage]:
    path.write_bytes(content)
    return list(read_records(path))


def told(found: list[Record | Damage]) -> list[str]:
    return [str(f) for f in found if isinstance(f, Damage)]


def test_round_trip(tmp_path: Path) -> None:
    data = payloads()
    write_records(tmp_path / "a", data)
    assert list(read_records(tmp_path / "a")) == [Record(o, p) for o, p in zip(starts(data), data, strict=True)]
    assert read(tmp_path / "empty", b"") == []


def test_a_broken_payload_costs_one_record(tmp_path: Path) -> None:
    data, at = payloads(), starts(payloads())
    content = bytearray(b"".join(map(framed, data)))
    content[at[2] + 100] ^= 0x10
    found = read(tmp_path / "a", content)
    assert [f.payload for f in found if isinstance(f, Record)] == [data[0], data[1], data[3], data[4]]
    assert told(found) == [f"a@{at[2]}: payload checksum does not match: 5000 bytes; read on after it"]


@pytest.mark.parametrize("byte", [0, 7, 9])
def test_a_broken_length_is_not_believed(tmp_path: Path, byte: int) -> None:
    data, at = payloads(), starts(payloads())
    content = bytearray(b"".join(map(framed, data)))
    content[at[2] + byte] ^= 0x80
    found = read(tmp_path / "a", content)
    assert [f.payload for f in found if isinstance(f, Record)] == [data[0], data[1], data[3], data[4]]
    (text,) = told(found)
    assert text.startswith(f"a@{at[2]}: length checksum does not match")
    assert "5016 bytes lost" in text


def test_a_record_that_lost_bytes_does_not_take_the_next_along(tmp_path: Path) -> None:
    """Its length is right by its checksum, and wrong all the same: where the next record should stand there is none."""
    data, at = payloads(), starts(payloads())
    content = b"".join(map(framed, data))
    found = read(tmp_path / "a", content[: at[2] + 50] + content[at[2] + 90 :])
    assert [f.payload for f in found if isinstance(f, Record)] == [data[0], data[1], data[3], data[4]]
    assert told(found)[0].startswith(f"a@{at[2]}: payload checksum")


def test_a_huge_length_with_a_right_checksum_allocates_nothing(tmp_path: Path) -> None:
    head = struct.pack("<Q", 2**62)
    content = framed(b"one") + head + struct.pack("<I", masked_crc32c(head)) + b"rest" + framed(b"two")
    found = read(tmp_path / "a", content)
    assert [f.payload for f in found if isinstance(f, Record)] == [b"one", b"two"]
    assert "cut short" in told(found)[0]


def test_records_are_found_across_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that begins anywhere about the edge of a scan is found."""
    monkeypatch.setattr(tfrecord, "SCAN", 64)
    for junk in range(1, 200):
        found = read(tmp_path / "a", bytes([7]) * junk + framed(b"here"))
        assert [f.payload for f in found if isinstance(f, Record)] == [b"here"], junk
        assert told(found)[0].startswith("a@0: ")


def test_a_missing_file_is_a_damage(tmp_path: Path) -> None:
    assert [str(f) for f in read_records(tmp_path / "none")] == ["none@0: cannot be read: No such file or directory"]
    assert "cannot be read" in str(next(iter(read_records(tmp_path))))


@st.composite
def damaged_file(draw: st.DrawFn) -> tuple[list[bytes], bytes, set[int]]:
    """Payloads, the bytes of a file in which something was done to some of them, and the numbers of the untouched ones."""
    data = payloads(draw(st.integers(0, 99)), tuple(draw(st.lists(st.integers(0, 300), min_size=1, max_size=6))))
    content, edges = bytearray(b"".join(map(framed, data))), [*starts(data), sum(map(len, map(framed, data)))]
    touched: set[int] = set()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content) - 1))
        content[at] ^= draw(st.integers(1, 255))
        touched.add(next(n for n in range(len(data)) if at < edges[n + 1]))
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(content)))
        touched |= {n for n in range(len(data)) if edges[n] <= cut < edges[n + 1] or edges[n] > cut}
        content = content[:cut]
    return data, bytes(content), set(range(len(data))) - touched


@settings(deadline=None, max_examples=CASES)
@given(damaged_file())
def test_whatever_happens_to_a_file(tmp_path_factory: pytest.TempPathFactory, made: tuple[list[bytes], bytes, set[int]]) -> None:
    """No exception; every untouched record is read; every touched one is reported at an offset at or before it, or has healed."""
    data, content, untouched = made
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    found, at = read(path, content), starts(data)
    got = {f.offset: f.payload for f in found if isinstance(f, Record)}
    for n in untouched:
        assert got.get(at[n]) == data[n]
    damaged = [int(f.where.split("@")[1]) for f in found if isinstance(f, Damage)]
    offsets = sorted([*got, *damaged])
    assert len(set(offsets)) == len(offsets)
    for n in set(range(len(data))) - untouched:
        if at[n] < len(content) and got.get(at[n]) != data[n]:
            before = max((o for o in offsets if o <= at[n]), default=None)
            assert before in damaged, (n, at, offsets)
    covered = 0  # every byte is of a record or within a reported stretch
    for f in found:
        o = f.offset if isinstance(f, Record) else int(f.where.split("@")[1])
        assert o == covered or (covered in damaged and o > covered)
        covered = o + len(framed(f.payload)) if isinstance(f, Record) else o
