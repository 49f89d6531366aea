"""Subcommands and exit status: 0 done, 2 bad input (one line on standard error), 3 a check that was asked for failed.

Parsing imports neither torch nor transformers, so `edge --help` answers at once; each command imports what it needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import tyro

from edge.cli.act import ActBudget, ActServe, ActSim
from edge.cli.bench import (
    BenchDeadline,
    BenchDecode,
    BenchPlan,
    BenchPolicy,
    BenchRealtime,
    BenchRender,
    BenchRows,
    BenchServer,
    BenchSight,
    BenchTransport,
)
from edge.cli.closed_loop import DriveClosedLoop
from edge.cli.data import Data
from edge.cli.drive import DriveData, DriveReference, DriveTeach
from edge.cli.evaluate import DriveEval
from edge.cli.generate import Generate
from edge.cli.importing import Import
from edge.cli.plan import Plan
from edge.cli.policy import PolicyCollect, PolicyEval, PolicyFilm, PolicyTrain
from edge.cli.policy_cache import CacheRecord, CacheReport, CacheSolve
from edge.cli.quantize import Quantize
from edge.cli.serve import Serve
from edge.cli.submit import DriveSubmit
from edge.cli.trace import Trace
from edge.cli.train import Convert, Train
from edge.cli.verify import Verify
from edge.core.errors import EdgeError

COMMANDS = {
    "generate": Generate,
    "plan": Plan,
    "serve": Serve,
    "train": Train,
    "convert": Convert,
    "data": Data,
    "bench": {
        "plan": BenchPlan,
        "decode": BenchDecode,
        "rows": BenchRows,
        "server": BenchServer,
        "render": BenchRender,
        "deadline": BenchDeadline,
        "policy": BenchPolicy,
        "sight": BenchSight,
        "transport": BenchTransport,
        "realtime": BenchRealtime,
    },
    "import": Import,
    "verify": Verify,
    "quantize": Quantize,
    "drive": {
        "data": DriveData,
        "reference": DriveReference,
        "teach": DriveTeach,
        "eval": DriveEval,
        "closed-loop": DriveClosedLoop,
        "submit": DriveSubmit,
    },
    "policy": {
        "collect": PolicyCollect,
        "train": PolicyTrain,
        "eval": PolicyEval,
        "film": PolicyFilm,
        "cache": {"record": CacheRecord, "solve": CacheSolve, "report": CacheReport},
    },
    "act": {"serve": ActServe, "sim": ActSim, "budget": ActBudget},
    "trace": Trace,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the `edge` script; exits the process."""
    _share_the_cores()
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def _share_the_cores() -> None:
    """Keep torch's CPU threads from waiting for each other in a long busy loop.

    Its OpenMP library reads the variable when torch is imported. On a calm machine a plan takes as long as before; on one whose
    cores are busy, tenths of a second instead of ten (deploy/RESULTS.md). A policy set by the user stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def run(argv: Sequence[str]) -> int:
    """Parse and run one command; returns the exit status."""
    table = COMMANDS
    words: list[str] = []
    rest = list(argv)
    while rest and isinstance(table, dict) and rest[0] in table:
        words.append(rest.pop(0))
        table = table[words[-1]]
    prog = " ".join(["edge", *words])
    if isinstance(table, dict):
        return _choose(prog, table, rest)
    try:
        return tyro.cli(table, args=rest, prog=prog).run()
    except EdgeError as e:
        print(f"edge: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("edge: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


def _choose(prog: str, table: dict, rest: Sequence[str]) -> int:
    """No such command yet: print the list, with the reason if a wrong one was named."""
    lines = [f"usage: {prog} COMMAND ...", ""]
    for name, command in table.items():
        doc = "..." if isinstance(command, dict) else (command.__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:10} {doc if doc != '...' else ' | '.join(command)}")
    if not rest or rest[0] in ("-h", "--help"):
        print("\n".join(lines))
        return 0 if rest else 2
    if rest[0] == "--version":
        from edge import __version__

        print(__version__)
        return 0
    import difflib

    near = difflib.get_close_matches(rest[0], table, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    print(f"edge: unknown command {rest[0]!r}; {hint}known: {', '.join(table)}", file=sys.stderr)
    return 2
