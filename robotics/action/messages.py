"""Messages as dictionaries of their fields: from and to JSON as rosbridge writes it, and CDR.

Inside, numbers of an array are a NumPy array, everything else what JSON knows. Whatever comes from outside is checked against its
type: names, kinds, ranges, lengths. What JSON leaves out is zero or empty, as in ROS.
Sources: ROSBRIDGE_PROTOCOL.md (bytes are base64, floats that are not finite null); CDR: OMG DDSI-RTPS, section 10.
"""

from __future__ import annotations

import binascii
import math
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.serde import SerdeError
from rosbags.typesys.base import normalize_fieldname

from edge.core.errors import InputError, MissingExtraError
from robotics.action.interfaces import NOTHING, fields, types

try:
    import pybase64  # Python's own takes longer for a picture than all else that is done with it
except ImportError as e:
    raise MissingExtraError("pybase64", "robot", "pictures as JSON") from e

Message = dict[str, Any]
BYTES = ("uint8", "octet", "byte", "char")
NUMBERS = {
    **{n: np.dtype(n) for n in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")},
    **dict.fromkeys(("byte", "octet", "char"), np.dtype("uint8")),
}


# --- what JSON says ---------------------------------------------------------------------------------------------------------------


def empty(name: str) -> Message:
    """A message of zeros. Raises UnknownNameError."""
    return {field: _empty(desc) for field, desc in fields(name)}


def read(value: Any, name: str, at: str = "") -> Message:
    """From JSON. Raises InputError, one line, that names the field; UnknownNameError for a type that nobody defined."""
    known = dict(fields(name))
    if not isinstance(value, dict):
        raise InputError(f"{at or name}: must be an object with the fields of {name}: got {_shown(value)}")
    for field in value:
        if field not in known:
            raise InputError(f"{_path(at, field)}: {name} has no such field; it has {', '.join(known) or 'none'}")
    return {f: _read(value[f], desc, _path(at, f)) if f in value else _empty(desc) for f, desc in known.items()}


def show(message: Message, name: str) -> dict[str, Any]:
    """To JSON."""
    return {field: _show(message[field], desc) for field, desc in fields(name)}


# --- what is in CDR ---------------------------------------------------------------------------------------------------------------


def pack(message: Message, name: str) -> bytes:
    """To CDR, little endian."""
    return bytes(types().serialize_cdr(_object(message, name), name, little_endian=True))


def unpack(data: bytes, name: str) -> Message:
    """From CDR. Raises InputError, one line, for bytes that are no such message."""
    try:
        return _fields(types().deserialize_cdr(data, name), name)
    except (SerdeError, ValueError, TypeError, IndexError, OverflowError, MemoryError, AssertionError) as e:
        raise InputError(f"{len(data)} bytes: are no {name} ({' '.join(str(e).split())[:80]})") from None


# --- one field ------------------------------------------------------------------------------------------------------------------


def _empty(desc: Any) -> Any:
    kind, rest = desc
    if kind == Nodetype.NAME:
        return empty(rest)
    if kind == Nodetype.BASE:
        return {"string": "", "bool": False}.get(rest[0], 0.0 if rest[0].startswith("float") else 0)
    inner, count = rest
    count = count if kind == Nodetype.ARRAY else 0
    if inner[0] == Nodetype.BASE and inner[1][0] in NUMBERS:
        return np.zeros(count, NUMBERS[inner[1][0]])
    return [_empty(inner) for _ in range(count)]


def _read(value: Any, desc: Any, at: str) -> Any:
    kind, rest = desc
    if kind == Nodetype.NAME:
        return read(value, rest, at)
    if kind == Nodetype.BASE:
        return _scalar(value, rest[0], rest[1], at)
    inner, count = rest
    if inner[0] == Nodetype.BASE and inner[1][0] in NUMBERS:
        found: Any = _numbers(value, inner[1][0], at)
    elif not isinstance(value, list):
        raise InputError(f"{at}: must be a list: got {_shown(value)}")
    else:
        _length(len(value), kind, count, at)
        found = [_read(v, inner, f"{at}[{i}]") for i, v in enumerate(value)]
    _length(len(found), kind, count, at)
    return found


def _scalar(value: Any, base: str, longest: int, at: str) -> Any:
    if base == "string":
        if not isinstance(value, str) or not _whole(value):
            raise InputError(f"{at}: must be a text: got {_shown(value)}")
        if longest and len(value.encode()) > longest:
            raise InputError(f"{at}: must have at most {longest} bytes: got {len(value.encode())}")
        return value
    if base == "bool":
        if not isinstance(value, bool):
            raise InputError(f"{at}: must be true or false: got {_shown(value)}")
        return value
    if base.startswith("float"):
        if value is None:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{at}: must be a number: got {_shown(value)}")
        return _float(value, base, at)
    info = np.iinfo(NUMBERS[base])
    if isinstance(value, bool) or not isinstance(value, int) or not info.min <= value <= info.max:
        raise InputError(f"{at}: must be a whole number from {info.min} to {info.max}: got {_shown(value)}")
    return value


def _numbers(value: Any, base: str, at: str) -> np.ndarray[Any, Any]:
    dtype = NUMBERS[base]
    if base in BYTES and isinstance(value, str):
        try:
            return np.frombuffer(pybase64.b64decode(value, validate=True), np.uint8)
        except (binascii.Error, ValueError):
            raise InputError(f"{at}: must be base64, or a list of bytes: got {_shown(value)}") from None
    if not isinstance(value, list):
        raise InputError(f"{at}: must be a list of numbers: got {_shown(value)}")
    kinds = {type(v) for v in value}
    if dtype.kind == "f" and kinds <= {float, int}:
        if base == "float32" or any(type(v) is int for v in value):
            value = [_float(v, base, f"{at}[{i}]") for i, v in enumerate(value)]
        return np.array(value, dtype)
    return np.array([_scalar(v, base, 0, f"{at}[{i}]") for i, v in enumerate(value)], dtype)


def _float(value: float, base: str, at: str) -> float:
    most = float(np.finfo(NUMBERS[base]).max)
    if math.isfinite(value) and abs(value) > most if isinstance(value, float) else abs(value) > most:
        raise InputError(f"{at}: must be a number that a {base} can hold: got {_shown(value)}")
    return float(value)


def _length(found: int, kind: Any, count: int, at: str) -> None:
    if kind == Nodetype.ARRAY and found != count:
        raise InputError(f"{at}: must have {count} elements: got {found}")
    if kind == Nodetype.SEQUENCE and count and found > count:
        raise InputError(f"{at}: must have at most {count} elements: got {found}")


def _show(value: Any, desc: Any) -> Any:
    kind, rest = desc
    if kind == Nodetype.NAME:
        return show(value, rest)
    if kind == Nodetype.BASE:
        return None if isinstance(value, float) and not math.isfinite(value) else value
    inner = rest[0]
    if isinstance(value, np.ndarray):
        if inner[1][0] in BYTES:
            return pybase64.b64encode_as_string(value.tobytes())
        out = value.tolist()
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return [v if math.isfinite(v) else None for v in out]
        return out
    return [_show(v, inner) for v in value]


def _object(message: Message, name: str) -> Any:
    """As the serializer takes it."""
    found = {normalize_fieldname(f): _inside(message[f], desc) for f, desc in fields(name)}
    return types().types[name](**(found or {NOTHING: 0}))


def _inside(value: Any, desc: Any) -> Any:
    kind, rest = desc
    if kind == Nodetype.NAME:
        return _object(value, rest)
    if kind == Nodetype.BASE:
        return value
    inner, _ = rest
    if inner[0] == Nodetype.BASE and inner[1][0] in NUMBERS:
        return np.ascontiguousarray(value, NUMBERS[inner[1][0]])
    return [_inside(v, inner) for v in value]


def _fields(message: Any, name: str) -> Message:
    return {f: _outside(getattr(message, normalize_fieldname(f)), desc, f) for f, desc in fields(name)}


def _outside(value: Any, desc: Any, at: str) -> Any:
    kind, rest = desc
    if kind == Nodetype.NAME:
        return _fields(value, rest)
    if kind == Nodetype.BASE:
        return value
    _length(len(value), kind, rest[1], at)
    return value if isinstance(value, np.ndarray) else [_outside(v, rest[0], at) for v in value]


def _path(at: str, field: Any) -> str:
    return f"{at}.{str(field)[:60]}" if at else str(field)[:60]


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {ascii(value)[:40]}"


def _whole(text: str) -> bool:
    """No half of a surrogate pair: such text is no UTF-8."""
    return not any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else True
