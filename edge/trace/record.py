"""The record of one forward, and files of records: one JSON object a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import ConfigDict, Field, ValidationError, model_validator

from edge.core.config import Frozen, explain
from edge.core.errors import InputError
from edge.core.tracing import Kind, State

Count = Annotated[int, Field(ge=0)]
COUNTED = {
    "accepted": State.ACCEPTED,
    "corrected": State.CORRECTED,
    "decided": State.NEW,
    "settled": State.SETTLED,
    "rejected": State.REJECTED,
}
"""Counts that are those of a state."""


class Token(NamedTuple):
    """A token at an answer row. text: what it reads; nothing for padding, and where the checkpoint has no tokenizer."""

    row: Annotated[int, Field(ge=0)]
    id: int
    text: str


class TraceRecord(Frozen):
    """What one forward did to one lineage. Rows count from the start of the answer.

    Of rollouts decided together each has a record of every forward it is in, with its own rows; they share `forward` and,
    nearly, `ms`.
    """

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    schema_: Literal["edge.trace/1"] = Field(default="edge.trace/1", alias="schema")
    strategy: str
    lineage: Count
    """0 up to where rollouts part, 1, 2, ... the rollouts behind it."""
    forward: Annotated[int, Field(ge=1)]
    """Number of the forward in the generation, from 1."""
    kind: Kind
    rows: Count
    """Rows computed, those of the prompt too."""
    drafted: Count
    """Predictions of rows' own tokens (`At`); a row that is drafted in two branches counts twice."""
    cuts: tuple[Count, ...]
    """Answer rows that the drafts of this forward begin at."""
    accepted: Count
    """Rows decided as guessed."""
    corrected: Count
    """Rows decided otherwise than guessed."""
    decided: Count
    """Rows decided without having been guessed."""
    settled: Count
    """Rows decided behind those because the constraint left one id, given the rows before."""
    rejected: Count
    """Rows guessed and left open, or gone with the end of the answer."""
    dropped: Count
    """Rows decided earlier that are open again, gone, or decided otherwise (they then count anew)."""
    section: str | None
    """Of a scaffold, the section that the first open row stood in when the forward began."""
    sections: tuple[tuple[str, Count], ...]
    """Of a scaffold, every section and the answer row it ends before."""
    ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Milliseconds of the forward and of what the strategy made of it."""
    states: Annotated[str, Field(pattern="^[fdacnsrg.-]*$")]
    """What every answer row is after the forward, a letter of `edge.core.tracing.State` each."""
    written: tuple[Token, ...]
    """Answer rows whose token is known since this record; the first of a lineage brings all that are known."""
    missed: tuple[Token, ...]
    """Guesses shown and not accepted."""

    @property
    def said(self) -> int:
        """Leading answer rows that are decided."""
        return len(self.states) - len(self.states.lstrip("fdacns"))

    @model_validator(mode="after")
    def _counts_are_those_of_the_states(self) -> TraceRecord:
        for name, state in COUNTED.items():
            count, found = getattr(self, name), self.states.count(state)
            if count != found:
                raise ValueError(f"{name} is {count} and states has {found} rows {state.value!r}")
        return self


@contextmanager
def writing(path: str | Path) -> Iterator[Callable[[TraceRecord], None]]:
    """A function that writes a record to `path`, a line each, at once. Raises InputError when the file cannot be written."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(path).open("w", encoding="utf-8"))
        except OSError as e:
            raise InputError(f"{path}: cannot write the trace ({e.strerror or e}); choose another file") from e

        def write(record: TraceRecord) -> None:
            file.write(record.model_dump_json() + "\n")
            file.flush()

        yield write


def read_trace(path: str | Path) -> list[TraceRecord]:
    """The records of a file, all of one generation, in their order.

    Raises InputError naming the file and the line for a missing file, a broken record, or forwards that are not 1, 2, 3, ...
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; write one with `edge generate ... --trace FILE`") from None
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: cannot read the trace ({getattr(e, 'strerror', None) or e})") from None
    records = [_record(line, f"{path}, line {n}") for n, line in enumerate(lines, start=1) if line.strip()]
    if not records:
        raise InputError(f"{path}: holds no record; write it anew with `edge generate ... --trace FILE`")
    _check_whole(records, path)
    return records


def _check_whole(records: list[TraceRecord], path: str | Path) -> None:
    if other := {r.strategy for r in records} - {records[0].strategy}:
        raise InputError(f"{path}: holds records of {records[0].strategy!r} and of {other.pop()!r}; a trace is of one generation")
    times = Counter((r.forward, r.lineage) for r in records)
    if twice := [forward for (forward, _), n in times.items() if n > 1]:
        raise InputError(f"{path}: forward {twice[0]} is there twice; a trace is of one generation")
    numbers = {r.forward for r in records}
    if missing := set(range(1, max(numbers))) - numbers:
        raise InputError(f"{path}: forward {min(missing)} is missing; a trace has all forwards of its generation")


def _record(line: str, where: str) -> TraceRecord:
    try:
        return TraceRecord.model_validate_json(line, strict=True)
    except ValidationError as e:
        raise InputError(f"{where}: no trace record: {explain(e)}") from None
