"""What a reader says of a piece of its source that it leaves out: reading goes on, and nothing is left out in silence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Damage:
    """A piece that cannot be used.

    where: the file, with `@` and the byte offset where pieces are records, or the name of a frame. reason: the rule it breaks, in
    front of the first colon, then the particulars.
    """

    where: str
    reason: str

    @property
    def rule(self) -> str:
        return self.reason.split(":")[0]

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"
