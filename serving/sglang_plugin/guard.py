"""Whether what a hook replaces still looks as it did in the version it was written for."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

from edge.core.errors import UnsupportedError

VERSION = "0.5.23"


def require_version(found: str) -> None:
    """Raises UnsupportedError for any SGLang but 0.5.23, patch releases of packagers apart."""
    if found.split("+")[0].split(".post")[0] != VERSION:
        raise UnsupportedError(f"the plug-in was written for sglang {VERSION} and found {found}; install sglang=={VERSION}")


def require(targets: Mapping[str, Sequence[str]]) -> None:
    """Check every dotted name against the names of its parameters. Raises UnsupportedError naming all that differ."""
    wrong = [why for name, parameters in targets.items() if (why := mismatch(name, parameters))]
    if wrong:
        raise UnsupportedError("SGLang is not as the plug-in expects, so no hook was set: " + "; ".join(wrong))


def mismatch(name: str, parameters: Sequence[str]) -> str | None:
    """What is wrong with the function of this dotted name, None when its parameters are `parameters`."""
    try:
        target: Any = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as e:
        return f"{name} does not exist ({e})"
    try:
        found = list(inspect.signature(target).parameters)
    except (TypeError, ValueError) as e:
        return f"{name} has no signature ({e})"
    return None if found == list(parameters) else f"{name} takes ({', '.join(found)}), not ({', '.join(parameters)})"
