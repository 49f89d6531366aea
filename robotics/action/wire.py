"""Arrays in msgpack, as openpi writes them, and nothing that could run code.

An array is a map of b"__ndarray__", b"data", b"dtype" and b"shape", a NumPy scalar one of b"__npgeneric__". What comes from the
wire is checked before memory is taken for it: kind, number of dimensions, and that the bytes are as many as the shape says.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from edge.core.errors import InputError, MissingExtraError

try:
    import msgpack
except ImportError as e:
    raise MissingExtraError("msgpack", "robot", "openpi's protocol") from e

KINDS = "biuf"
DTYPE = re.compile(rf"[<>=|]?[{KINDS}][1248]")
MOST_DIMENSIONS = 8


def pack(value: Any) -> bytes:
    """Raises InputError for arrays of objects and whatever msgpack does not know."""
    try:
        return bytes(msgpack.packb(value, default=_packed) or b"")
    except (TypeError, ValueError, OverflowError) as e:
        raise InputError(f"cannot be sent as msgpack ({e}); send numbers, texts, lists, maps and arrays of numbers") from None


def unpack(data: bytes) -> Any:
    """Raises InputError, one line, for anything that is no msgpack of known forms."""
    try:
        return msgpack.unpackb(data, object_hook=_unpacked, strict_map_key=False)
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, UnicodeDecodeError) as e:
        raise InputError(f"message of {len(data)} bytes: is no msgpack ({type(e).__name__}: {str(e)[:80]})") from None
    except msgpack.exceptions.UnpackException as e:
        raise InputError(f"message of {len(data)} bytes: is no msgpack ({type(e).__name__})") from None


def _packed(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in KINDS:
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic) and value.dtype.kind in KINDS:
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"{type(value).__name__} of {getattr(value, 'dtype', 'no dtype')}")


def _unpacked(found: dict[Any, Any]) -> Any:
    if b"__ndarray__" in found:
        data, dtype, shape = found.get(b"data"), _dtype(found.get(b"dtype")), found.get(b"shape")
        if not isinstance(data, bytes) or not isinstance(shape, list | tuple) or len(shape) > MOST_DIMENSIONS:
            raise InputError(
                f"array: must have bytes and a shape of at most {MOST_DIMENSIONS} dimensions: got shape {str(shape)[:60]}"
            )
        if not all(type(n) is int and n >= 0 for n in shape):
            raise InputError(f"array: a shape counts from 0 up: got {str(shape)[:60]}")
        size = dtype.itemsize
        for n in shape:
            size *= n
        if size != len(data):
            raise InputError(f"array: {dtype} of shape {tuple(shape)} has {size} bytes: got {len(data)}")
        return np.frombuffer(data, dtype).reshape(shape)
    if b"__npgeneric__" in found:
        value = found.get(b"data")
        if not isinstance(value, bool | int | float):
            raise InputError(f"scalar: must be a number: got {type(value).__name__}")
        return _dtype(found.get(b"dtype")).type(value)
    return found


def _dtype(name: Any) -> np.dtype[Any]:
    if not isinstance(name, str) or not DTYPE.fullmatch(name):  # NumPy would read far more than that, expressions among it
        raise InputError(f"array: dtype must be of numbers: got {str(name)[:40]!r}; send for example <f4 or |u1")
    try:
        return np.dtype(name)
    except TypeError:  # a float of one byte
        raise InputError(f"array: there is no dtype {name!r}; send for example <f4 or |u1") from None
