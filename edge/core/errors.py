"""The error tree. Every message names the thing, the rule, the value and the remedy.

EdgeError                      anything this project refuses; `edge` prints it as one line and exits with 2
├── InputError                 what the caller handed in: a file, an image, a prompt, a history, an option
│   └── UnknownNameError       a name that is not registered; carries the nearest known names
├── CheckpointError            a model folder that cannot be used: missing parts, shapes, conventions
├── UnsupportedError           a valid request that this host, model or strategy cannot honour
└── MissingExtraError          an optional dependency is absent; prints the command that installs it
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgeError(Exception):
    """Base of all errors that a user can mend."""


class InputError(EdgeError):
    """Bad input from the caller."""


class UnknownNameError(InputError):
    """A name outside the known set; the message suggests the nearest known one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}; {hint}known: {', '.join(names)}")
        self.kind, self.name, self.known = kind, name, names


class CheckpointError(EdgeError):
    """A model folder that cannot be loaded as it is."""


class UnsupportedError(EdgeError):
    """A well-formed request that this combination of parts cannot honour."""


class MissingExtraError(EdgeError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}; install it with: pip install 'edge-dvla[{extra}]'")
