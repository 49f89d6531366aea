"""A fixed answer template: literal text with typed holes, in named sections. Data only, so it can travel as JSON.

The driving answer is one template (`robotics.driving.answer`); a general JSON-schema compiler produces the same parts.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge.core.config import Frozen


class Text(Frozen):
    """Literal text: its rows are frozen."""

    kind: Literal["text"] = "text"
    text: str = Field(min_length=1)


class Choice(Frozen):
    """One of a few strings, padded to the longest one's tokens."""

    kind: Literal["choice"] = "choice"
    options: tuple[str, ...] = Field(min_length=1)


class FreeText(Frozen):
    """The inside of a JSON string of at most `budget` tokens and `max_chars` code points."""

    kind: Literal["free"] = "free"
    budget: int = Field(gt=0)
    max_chars: int | None = Field(default=None, gt=0)


class Chars(Frozen):
    """Fixed-width text: one character of each class in turn, each a token of its own."""

    kind: Literal["chars"] = "chars"
    classes: tuple[str, ...] = Field(min_length=1)


class JsonNumber(Frozen):
    """A JSON number from `lowest` to `highest`, both counted in units of the last decimal.

    No leading zeros and no negative zero. fixed_width: filled up with leading spaces to the width of the longest.
    """

    kind: Literal["json-number"] = "json-number"
    lowest: int
    highest: int
    decimals: int = Field(default=0, ge=0)
    fixed_width: bool = False

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if self.lowest > self.highest:
            raise ValueError(f"lowest ({self.lowest}) must not exceed highest ({self.highest})")
        return self

    @property
    def width(self) -> int:
        """Characters of the longest number."""
        return max(len(decimal(n, self.decimals)) for n in (self.lowest, self.highest))

    def format(self, value: float) -> str:
        """The number of this form nearest to `value`. Raises ValueError when that is not finite."""
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number")
        text = decimal(min(max(round(value * 10**self.decimals), self.lowest), self.highest), self.decimals)
        return text.rjust(self.width) if self.fixed_width else text


class Number(Frozen):
    """A signed fixed-width decimal, `+014.70` for three integer digits and two decimals."""

    kind: Literal["number"] = "number"
    integer_digits: int = Field(gt=0)
    decimals: int = Field(ge=0)

    def format(self, value: float) -> str:
        """`value` in this form. Raises ValueError when it does not fit or is not finite."""
        width = 1 + self.integer_digits + (1 + self.decimals if self.decimals else 0)
        text = f"{value:+0{width}.{self.decimals}f}"
        if not math.isfinite(value) or len(text) != width:
            raise ValueError(f"{value} does not fit into {self.integer_digits} integer digits; clamp it or widen the number")
        return text


def decimal(n: int, decimals: int) -> str:
    """`n` units of the last decimal as a JSON number."""
    sign, digits = ("-" if n < 0 else ""), str(abs(n)).rjust(decimals + 1, "0")
    return sign + (f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits)


Hole = Choice | FreeText | Chars | JsonNumber | Number
Part = Annotated[Text | Hole, Field(discriminator="kind")]


class TemplateSection(Frozen):
    name: str
    parts: tuple[Part, ...]


class Template(Frozen):
    """Sections in answer order; their texts joined are the answer."""

    sections: tuple[TemplateSection, ...] = Field(min_length=1)

    def holes(self) -> list[tuple[str, Hole]]:
        """(section, hole) in answer order."""
        return [(s.name, p) for s in self.sections for p in s.parts if not isinstance(p, Text)]
