"""Registries over entry points: built-ins and third-party packages register the same way, in `pyproject.toml`.

Nothing is imported before it is asked for by name, an import that fails keeps its own traceback, and an unknown name gets a
suggestion.
"""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from edge.core.errors import UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one entry-point group, loaded lazily. `kind` is the word for it in errors ("strategy")."""

    def __init__(self, group: str, kind: str) -> None:
        self.group, self.kind = group, kind

    @cached_property
    def _entries(self) -> dict[str, EntryPoint]:
        return {e.name: e for e in entry_points(group=self.group)}

    def names(self) -> list[str]:
        return sorted(self._entries)

    def get(self, name: str) -> T:
        """The object registered under `name`. Raises UnknownNameError; import errors pass through unchanged."""
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name].load()
