"""Frozen, strict pydantic models for everything that crosses a border: file, wire, command line."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.core.errors import InputError

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class Frozen(BaseModel):
    """Immutable and strict about names: an unknown key is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


ConfigT = TypeVar("ConfigT", bound=BaseModel)


def explain(error: ValidationError) -> str:
    """A pydantic error as one line: `path: rule (got value)`, the first three, then a count of the rest."""
    parts = []
    for item in error.errors()[:3]:
        path = ".".join(str(p) for p in item["loc"]) or "value"
        got = "" if item["type"] == "missing" else f" (got {_short(repr(item['input']))})"
        parts.append(f"{path}: {item['msg']}{got}")
    rest = error.error_count() - len(parts)
    return "; ".join(parts) + (f"; and {rest} more" if rest > 0 else "")


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def checked(model: type[ConfigT], where: str, **values: Any) -> ConfigT:
    """`model` with these values. Raises InputError, one line that begins with `where`."""
    try:
        return model(**values)
    except ValidationError as e:
        raise InputError(f"{where}: {explain(e)}") from None


def load_toml(path: str | Path, model: type[ConfigT], overrides: dict[str, Any] | None = None) -> ConfigT:
    """Read a TOML file into `model`; `overrides` (dotted keys) replace values of the file.

    Raises InputError naming the file and the key for a missing file, broken TOML or an invalid value.
    """
    path = Path(path)
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: not valid TOML: {e}") from None
    for dotted, value in (overrides or {}).items():
        *parents, leaf = dotted.split(".")
        node = raw
        for key in parents:
            node = node.setdefault(key, {})
        node[leaf] = value
    try:
        return model.model_validate(raw)
    except ValidationError as e:
        raise InputError(f"{path}: {explain(e)}") from None


def named_in(path: str | Path, key: str) -> bool:
    """Whether a TOML file has a top-level key; False for what `load_toml` would refuse."""
    try:
        return key in tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def to_toml(config: BaseModel) -> str:
    """A model as TOML that `load_toml` reads back equal, every default spelled out."""
    lines: list[str] = []
    _toml_table(config.model_dump(mode="json", exclude_none=True), "", lines)
    return "\n".join(lines) + "\n"


def _toml_table(table: dict[str, Any], name: str, lines: list[str]) -> None:
    tables = {k: v for k, v in table.items() if isinstance(v, dict)}
    arrays = {k: v for k, v in table.items() if isinstance(v, list) and v and isinstance(v[0], dict)}
    lines += [f"{_toml_key(k)} = {_toml_value(v)}" for k, v in table.items() if k not in tables and k not in arrays]
    for key, rows in arrays.items():
        for row in rows:
            lines += ["", f"[[{name}{_toml_key(key)}]]"]
            _toml_table(row, f"{name}{_toml_key(key)}.", lines)
    for key, child in tables.items():
        lines += ["", f"[{name}{_toml_key(key)}]"]
        _toml_table(child, f"{name}{_toml_key(key)}.", lines)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return json.dumps(value)  # strings, numbers and booleans are written alike in JSON and TOML
