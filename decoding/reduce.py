"""Several answers to one template as one: numbers by mean or median, or one of the answers; and how far they lie apart.

Shapes: `N` answers, `H` numbers of the template.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from decoding.template import Hole, JsonNumber, Number, Template
from edge.core.errors import UnknownNameError

F64 = NDArray[np.float64]


def numbers(template: Template, values: Sequence[str]) -> F64:
    """The numbers among the values of a template's holes: float64 [H], in the schema's own units."""
    return np.array([float(v) for (_, hole), v in zip(template.holes(), values, strict=True) if is_number(hole)])


def is_number(hole: Hole) -> bool:
    return isinstance(hole, Number | JsonNumber)


def medoid(found: F64) -> int:
    """The answer with the least sum of distances to the others. found: [N, H]."""
    return int(np.linalg.norm(found[:, None] - found[None], axis=-1).sum(axis=1).argmin())


LIKELIEST = "likeliest"
"""The answer that the model itself finds most probable."""

JOINED: dict[str, Callable[[F64], F64]] = {
    "mean": lambda found: found.mean(axis=0),
    "median": lambda found: np.median(found, axis=0),
}
"""Numbers out of those of all answers, [N, H] -> [H]."""
CHOSEN: dict[str, Callable[[F64, Sequence[float]], int]] = {
    "medoid": lambda found, _: medoid(found),
    LIKELIEST: lambda _, logprobs: int(np.argmax(logprobs)),
}
"""Which of the answers is taken as it is."""


def reduce(template: Template, answers: Sequence[Sequence[str]], how: str, logprobs: Sequence[float] = ()) -> tuple[list[str], F64]:
    """One answer from N (values of the template's holes), and the standard deviation of every number: float64 [H].

    logprobs: of each answer, for the likeliest of them. Where numbers are joined, holes that are none are those of the medoid.
    Raises UnknownNameError for another reducer.
    """
    found = np.stack([numbers(template, a) for a in answers])
    if how in CHOSEN:
        return list(answers[CHOSEN[how](found, logprobs)]), found.std(axis=0)
    if how not in JOINED:
        raise UnknownNameError("reducer", how, (*JOINED, *CHOSEN))
    joined = iter(JOINED[how](found))
    others = answers[medoid(found)]
    out = [_written(h, float(next(joined))) if is_number(h) else v for (_, h), v in zip(template.holes(), others, strict=True)]
    return out, found.std(axis=0)


def _written(hole: Hole, value: float) -> str:
    assert isinstance(hole, Number | JsonNumber)
    return hole.format(value)
