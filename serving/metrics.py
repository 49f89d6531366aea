"""What a server tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from edge.generation import Generation
from robotics.driving.service.response import PlanResponse

MILLISECONDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000)
FORWARDS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)
RATES = (0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)


class Metrics:
    """Of one server; each has a registry of its own. waiting, running: read when asked for."""

    def __init__(self, waiting: Callable[[], int], running: Callable[[], int]) -> None:
        self.registry = r = CollectorRegistry()
        self.requests = Counter("edge_requests", "Requests by route and HTTP status.", ("route", "status"), registry=r)
        self.phase_ms = Histogram("edge_phase_ms", "Milliseconds by phase.", ("phase",), buckets=MILLISECONDS, registry=r)
        self.forwards = Histogram("edge_forwards", "Forwards of an answer.", buckets=FORWARDS, registry=r)
        self.per_forward = Histogram("edge_tokens_per_forward", "Answer tokens per forward.", buckets=RATES, registry=r)
        self.accepted = Histogram("edge_accept_length", "Tokens that the model chose, per forward.", buckets=RATES, registry=r)
        self.tokens = Counter("edge_tokens", "Tokens by kind.", ("kind",), registry=r)
        self.missed = Counter(
            "edge_deadline_misses",
            "Answers after their deadline, and plans without the model because of it.",
            registry=r,
        )
        self.skipped = Counter("edge_deadline_skips", "Answers of which a deadline took sections.", registry=r)
        self.left = Counter("edge_clients_left", "Requests whose client left before the answer.", registry=r)
        self.plans = Counter("edge_plans", "Driving plans by status and source.", ("status", "source"), registry=r)
        self.plan_ms = Histogram(
            "edge_plan_ms", "Milliseconds from a plan's request to its answer.", buckets=MILLISECONDS, registry=r
        )
        Gauge("edge_waiting", "Requests that wait.", registry=r).set_function(waiting)
        Gauge("edge_running", "Requests that run.", registry=r).set_function(running)

    def answered(self, g: Generation, waited_ms: float, deadline_ms: float | None) -> None:
        """Count one generation."""
        for phase, ms in {**g.timings, "queue": waited_ms}.items():
            self.phase_ms.labels(phase).observe(ms)
        said = [len(b.tokens) for b in g.branches] or [len(g.tokens)]
        self.forwards.observe(g.forwards)
        self.per_forward.observe(sum(said) / g.forwards if g.forwards else 0.0)
        self.accepted.observe(g.accepted_per_forward)
        self.tokens.labels("prompt").inc(g.prompt_tokens)
        self.tokens.labels("cached").inc(g.cached_tokens)
        self.tokens.labels("completion").inc(sum(said))
        if deadline_ms is not None and g.timings["total"] + waited_ms > deadline_ms:
            self.missed.inc()
        if g.skipped_sections or g.finish_reason == "deadline":
            self.skipped.inc()

    def planned(self, plan: PlanResponse) -> None:
        """Count one driving plan."""
        self.plans.labels(plan.status, plan.source).inc()
        self.plan_ms.observe(plan.timing.total_ms)
        if not plan.timing.met or "DEADLINE_MISSED" in plan.reason_codes:
            self.missed.inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
