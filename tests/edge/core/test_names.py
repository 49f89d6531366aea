"""Registries, strict configuration files and the error tree."""

from __future__ import annotations

import pytest

from edge.core.config import Frozen, load_toml
from edge.core.errors import EdgeError, InputError, MissingExtraError, UnknownNameError
from edge.core.registry import Registry


class Inner(Frozen):
    size: int = 1


class Settings(Frozen):
    name: str
    inner: Inner = Inner()


def test_built_in_strategies_are_registered_and_load() -> None:
    registry = Registry("edge.strategies", "strategy")
    assert {"ar", "threshold", "self-spec"} <= set(registry.names())
    assert callable(registry.get("self-spec"))


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown strategy 'selfspec'; did you mean 'self-spec'"):
        Registry("edge.strategies", "strategy").get("selfspec")


def test_toml_overrides_and_strictness(tmp_path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('name = "a"\n[inner]\nsize = 2\n')
    assert load_toml(path, Settings).inner.size == 2
    assert load_toml(path, Settings, {"inner.size": 5}).inner.size == 5
    path.write_text('name = "a"\nsise = 2\n')
    with pytest.raises(InputError, match="sise"):
        load_toml(path, Settings)
    path.write_text("name = ")
    with pytest.raises(InputError, match="not valid TOML"):
        load_toml(path, Settings)
    with pytest.raises(InputError, match="no such file"):
        load_toml(tmp_path / "none.toml", Settings)


def test_missing_extra_prints_the_command() -> None:
    error = MissingExtraError("cv2", "drive", "rendering")
    assert isinstance(error, EdgeError)
    assert "pip install 'edge-dvla[drive]'" in str(error)
