"""`edge policy cache ...`: record a policy, solve a caching schedule for it, look at both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class CacheRecord:
    """Record how alike a policy's unit outputs are over its denoising steps, on observations of Meta-World's experts."""

    model: Path
    """Folder of the policy."""
    out: Path
    """File of statistics to write."""
    sampler: str | None = None
    """SAMPLER:STEPS in place of the policy's own; a schedule is good for this one alone."""
    queries: int = 6
    """Observations of each task."""

    def run(self) -> int:
        import sys

        import torch

        from edge.bench.policy.entries import named
        from robotics.policy.cache.record import record
        from robotics.policy.calibration import gathered
        from robotics.policy.checkpoint import load

        torch.set_num_threads(1)
        policy = load(self.model)
        if self.sampler:
            policy.sample_with(*named(self.sampler))
        seen, _ = gathered(policy, policy.config.tasks, self.queries)
        record(policy, seen, told=lambda n: print(f"\redge: query {n} of {len(seen)}", end="", file=sys.stderr)).save(self.out)
        print(f"\nedge: wrote {self.out}", file=sys.stderr)
        return 0


@dataclass(frozen=True)
class CacheSolve:
    """Solve a schedule: which units are computed at which steps."""

    statistics: Positional[Path]
    """File of `edge policy cache record`."""
    out: Path
    """JSON file to write; it names the policy that it was solved for."""
    method: Literal["uniform", "unified", "block-wise", "bac"] = "bac"
    budget: int = 10
    """Refreshes of each unit."""
    objective: Literal["anchor", "adjacent"] = "anchor"
    """What a step is compared with: the refresh that serves it, as in the authors' code, or the step before, as in the paper."""
    upstream: int = 4
    """Units that take over the refreshes of the feed-forward networks behind them (bac)."""
    queries: int = 0
    """So many of the recorded queries, 1 as in the paper; 0: all."""

    def run(self) -> int:
        import sys

        from robotics.policy.cache.solve import solve
        from robotics.policy.cache.statistics import Statistics

        found = solve(
            Statistics.load(self.statistics),
            self.method,
            self.budget,
            objective=self.objective,
            upstream=self.upstream,
            queries=self.queries,
        )
        found.save(self.out)
        total = found.steps * len(found.refreshes)
        print(f"edge: wrote {self.out}: {found.unit_evaluations} of {total} unit evaluations", file=sys.stderr)
        return 0


@dataclass(frozen=True)
class CacheReport:
    """Draw what was recorded and solved, and say how much the schedule depends on the query that it is solved from."""

    statistics: Positional[Path]
    """File of `edge policy cache record`."""
    out: Path
    """Folder for similarity.png, schedules.png and, with --bench, success.png."""
    budget: int = 10
    """Refreshes of each unit."""
    bench: Path | None = None
    """Result of `edge bench policy --json`."""
    json: Path | None = None
    """Write the figures there too."""

    def run(self) -> int:
        import json
        import sys

        from rich.console import Console
        from rich.table import Table

        from edge.bench import record
        from edge.bench.policy import picture
        from edge.core.errors import InputError
        from robotics.policy.cache.solve import METHODS, solve, spread
        from robotics.policy.cache.statistics import Statistics

        statistics = Statistics.load(self.statistics)
        told = spread(statistics, self.budget)
        solved = [solve(statistics, m, self.budget) for m in METHODS]
        rows = [
            {
                "name": picture.unit_name(u),
                "change": float(statistics.changes[:, u].mean()),
                "agreement": float(told.agreement[u]),
                "served_by_one": float(told.served_by_one[u]),
                "served_by_all": float(told.served_by_all[u]),
                "upstream": float(told.upstream[u]),
                "refreshes": {s.method: len(s.refreshes[u]) for s in solved},
            }
            for u in range(statistics.similarity.shape[1])
        ]
        queries = len(statistics.similarity)
        table = Table(title=f"{statistics.sampler}:{statistics.steps}, budget {self.budget}, {queries} queries")
        table.add_column("unit")
        for head in ("change", "same refreshes", "served by one query's", "by that of all", "upstream in", "refreshes of bac"):
            table.add_column(head, justify="right")
        for r in rows:
            shares = (f"{r['agreement']:.0%}", f"{r['served_by_one']:.4f}", f"{r['served_by_all']:.4f}", f"{r['upstream']:.0%}")
            table.add_row(r["name"], f"{r['change']:.3f}", *shares, str(r["refreshes"]["bac"]))
        Console(file=sys.stdout, width=140, highlight=False).print(table)
        written = [
            picture.similarity(statistics, self.out / "similarity.png"),
            picture.chart(solved, self.out / "schedules.png"),
        ]
        if self.bench is not None:
            try:
                bench = json.loads(self.bench.read_text(encoding="utf-8"))
                acted, screened = bench["rows"], bench["screened"]
            except (OSError, ValueError, KeyError):
                raise InputError(f"{self.bench}: no result of `edge bench policy`; run it with --json FILE") from None
            written.append(picture.success(acted, screened, self.out / "success.png"))
        for path in written:
            print(f"edge: wrote {path}", file=sys.stderr)
        record.write(record.report("policy-cache", rows, statistics=str(self.statistics), budget=self.budget), self.json)
        return 0
