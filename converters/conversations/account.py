"""What of a data set could not be used, record by record: counted, never silent, and the end of a run past a set share."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.core.errors import InputError

SHOWN = 3
"""Records named of each reason."""
REASONS = {
    "unreadable": "is no JSON object",
    "form": "has neither the form of LLaVA nor that of ShareGPT",
    "role": "has a turn of an unknown speaker",
    "no answer": "does not end with an answer",
    "empty turn": "has a turn without words",
    "special token": "has a special token's name in its words, which would be read as the token",
    "missing file": "names a picture that is not there",
    "corrupt picture": "has a picture that cannot be decoded",
    "misplaced pictures": "has more or fewer places of pictures than pictures",
    "refused": "is refused by the chat template or the image processor",
    "too long": "is longer than a sample may be",
}


class Dropped(Exception):
    """A record that cannot be used. reason: of `REASONS`; detail: what is wrong with this one."""

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in REASONS, reason
        super().__init__(f"{REASONS[reason]} ({detail})")
        self.reason, self.detail = reason, detail


@dataclass
class Account:
    """Of one pass over a data set. allowed: the share of records that may be dropped; patience: records seen before the share says
    anything, so that a bad first one does not end a run.
    """

    source: str
    allowed: float = 0.01
    patience: int = 200
    kept: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    named: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.allowed <= 1:
            raise InputError(f"the share of records that may be dropped must be from 0 to 1: got {self.allowed:g}")

    @property
    def dropped(self) -> int:
        return sum(self.counts.values())

    @property
    def seen(self) -> int:
        return self.kept + self.dropped

    def keep(self) -> None:
        self.kept += 1

    def drop(self, number: int, why: Dropped) -> None:
        """number: of the record, as its file counts. Raises InputError where too many were dropped by now."""
        self.counts[why.reason] = self.counts.get(why.reason, 0) + 1
        named = self.named.setdefault(why.reason, [])
        if len(named) < SHOWN:
            named.append((number, why.detail))
        if self.seen >= self.patience:
            self.judge()

    def judge(self) -> None:
        """Raises InputError where more than the allowed share were dropped, or nothing was kept."""
        if self.dropped > self.allowed * self.seen:
            share = f"{100 * self.dropped / self.seen:.1f} % of {self.seen} records cannot be used"
            most = ", ".join(f"{n} x {reason}" for reason, n in self._sorted())
            first = min((number, REASONS[r], detail) for r, named in self.named.items() for number, detail in named)
            raise InputError(
                f"{self.source}: {share}, more than the allowed {100 * self.allowed:g} % ({most}); "
                f"first, record {first[0]} {first[1]} ({first[2]}); mend the records or allow a larger share"
            )
        if not self.kept:
            raise InputError(f"{self.source}: holds no record that can be used; give one conversation a line")

    def lines(self) -> list[str]:
        """The report, most frequent reason first."""
        out = [f"{self.source}: {self.kept} of {self.seen} records can be used"]
        for reason, count in self._sorted():
            out.append(f"  {count} {REASONS[reason]}")
            out += [f"    record {number}: {detail}" for number, detail in self.named[reason]]
            if count > len(self.named[reason]):
                out.append(f"    and {count - len(self.named[reason])} more")
        return out

    def _sorted(self) -> list[tuple[str, int]]:
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
