"""A fixed answer template: literal text with typed holes, in named sections. Data only, so it can travel as JSON.

The driving answer is one template (`robotics.driving.answer`); a general JSON-schema compiler produces the same parts.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

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
    """The inside of a JSON string of at most `budget` tokens, filled up with padding tokens."""

    kind: Literal["free"] = "free"
    budget: int = Field(gt=0)


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


Part = Annotated[Text | Choice | FreeText | Number, Field(discriminator="kind")]


class TemplateSection(Frozen):
    name: str
    parts: tuple[Part, ...]


class Template(Frozen):
    """Sections in answer order; their texts joined are the answer."""

    sections: tuple[TemplateSection, ...] = Field(min_length=1)

    def holes(self) -> list[tuple[str, Choice | FreeText | Number]]:
        """(section, hole) in answer order."""
        return [(s.name, p) for s in self.sections for p in s.parts if not isinstance(p, Text)]
