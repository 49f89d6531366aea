"""CRC-32C (Castagnoli, RFC 3720 appendix B.4) of bytes, and the masked form that TFRecord stores.

A CRC register is linear over GF(2) in its start and in the data, so a long message is cut into lanes whose registers advance side
by side in one array, and neighbours are then joined: register(A B) = shifted(register(A), length of B) xor register(B).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U32 = NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78  # 0x1EDC6F41 with its bits reversed
_SHORT, _MOST_LANES = 4096, 16384
"""Shorter messages are quicker bytewise; about 200 steps of an array are worth the call overhead of numpy."""
_ONES = 0xFFFFFFFF


def _table() -> U32:
    """What a register whose low byte is i becomes after that byte has been shifted out."""
    out = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        out = np.where(out & 1, (out >> 1) ^ np.uint32(_POLYNOMIAL), out >> 1).astype(np.uint32)
    return out


TABLE = _table()
_PLAIN = TABLE.tolist()


def crc32c_bytewise(data: bytes) -> int:
    """The slow twin: one byte after the other."""
    register = _ONES
    for byte in data:
        register = _PLAIN[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register ^ _ONES


def crc32c(data: bytes) -> int:
    """CRC-32C of `data`."""
    if len(data) < _SHORT:
        return crc32c_bytewise(data)
    count = min(1 << (len(data) // 200).bit_length(), _MOST_LANES)
    width = -(-len(data) // count)
    lanes = np.zeros(count * width, dtype=np.uint8)  # zeros in front leave a register of zero as it is
    lanes[lanes.size - len(data) :] = np.frombuffer(data, dtype=np.uint8)
    lanes[lanes.size - len(data) :][:4] ^= 0xFF  # a start of all ones is the same as the first four bytes inverted
    registers = np.zeros(count, dtype=np.uint32)
    for column in np.ascontiguousarray(lanes.reshape(count, width).T):
        registers = (TABLE[(registers ^ column) & 0xFF] ^ (registers >> 8)).astype(np.uint32, copy=False)
    shift = _zeros(width)
    while registers.size > 1:
        registers = (_apply(shift, registers[::2]) ^ registers[1::2]).astype(np.uint32)
        shift = _apply(shift, shift)
    return int(registers[0]) ^ _ONES


def _zeros(count: int) -> U32:
    """The linear map of a register over `count` zero bytes: images [32] of its bits, by repeated squaring."""
    bits = (np.uint32(1) << np.arange(32, dtype=np.uint32)).astype(np.uint32)
    out, power = bits, (TABLE[bits & 0xFF] ^ (bits >> 8)).astype(np.uint32)
    while count:
        if count & 1:
            out = _apply(power, out)
        power = _apply(power, power)
        count >>= 1
    return out


def _apply(images: U32, registers: U32) -> U32:
    """A linear map given by the images [32] of the bits, on registers [n]."""
    bits = (registers[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return np.bitwise_xor.reduce(np.where(bits.astype(bool), images, np.uint32(0)), axis=1).astype(np.uint32)


def mask(crc: int) -> int:
    """The stored form (tensorflow, lib/hash/crc32c.h): rotated right by 15 bits, plus a constant."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & _ONES


def masked_crc32c(data: bytes) -> int:
    return mask(crc32c(data))


def masked_of_words(words: NDArray[np.uint8]) -> U32:
    """Masked CRC-32C of many words of 8 bytes at once: uint8 [n, 8] -> [n]."""
    registers = np.full(len(words), _ONES, dtype=np.uint32)
    for k in range(8):
        registers = TABLE[(registers ^ words[:, k]) & 0xFF] ^ (registers >> 8)
    crc = registers ^ np.uint32(_ONES)
    return ((crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(0xA282EAD8)).astype(np.uint32)
