"""The report of a quantization: every product, some logits against their bound, tokens and speculation on every set of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from converters.calibration import Request, answer
from converters.fidelity import Agreement, ProductError, agreement, product_errors, smoothed_reference
from converters.logit_bound import CHANCE, LIMIT, LogitError, logit_errors
from converters.quantize import Quantized
from edge.engine import Engine

PRODUCT_REQUESTS = 4
"""Requests on which each product is compared; its errors hardly differ from one to the next."""
LOGIT_REQUESTS, LOGIT_ROWS = 4, 4
"""Logits are compared at so many rows of so many answers, two at each."""


@dataclass
class Report:
    """agreement: by the name of its set of requests; logits: summary of what `converters.logit_bound` found."""

    made: Quantized
    products: list[ProductError] = field(default_factory=list)
    logits: dict[str, Any] | None = None
    agreement: dict[str, Agreement] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        plan = self.made.plan
        return {
            "schema": "edge.quantize/1",
            "layout": plan.layout,
            "clip": plan.clip if plan.scheme.static_input else None,
            "smoothquant": plan.smooth,
            "keep": list(plan.keep),
            "quantized": len(self.made.names),
            "products": [asdict(e) for e in self.products],
            "logits": self.logits,
            "agreement": {name: found.as_json() for name, found in self.agreement.items()},
        }


def measure(
    source: Engine, listening: Engine | None, quantized: Engine, made: Quantized, sets: Mapping[str, Sequence[Request]]
) -> Report:
    """source, quantized: before and after; listening: the source with the "transformers" adapter, whose weights are smoothed
    here; sets: requests that were not calibrated on. Without requests there is nothing to report."""
    report = Report(made)
    some = [r for requests in sets.values() for r in requests[:PRODUCT_REQUESTS]][-PRODUCT_REQUESTS:]
    if listening is None or not some:
        return report
    reference = smoothed_reference(listening, made) if made.plan.smooth is not None else listening
    report.products = product_errors(reference, made, some)
    if not source.spec.causal_mode:
        return report
    if sum(made.before[n + ".weight"].numel() for n in made.names) <= LIMIT:
        answered = [(r, answer(source, r, "ar").tokens) for r in some[:LOGIT_REQUESTS]]
        report.logits = _summary(logit_errors(reference, made, answered, LOGIT_ROWS))
    report.agreement = {name: agreement(source, quantized, requests) for name, requests in sets.items() if requests}
    return report


def _summary(errors: Sequence[LogitError]) -> dict[str, Any]:
    return {
        "count": len(errors),
        "chance_of_exceeding_the_bound": CHANCE,
        "error_p50": median(e.all_error for e in errors),
        "error_max": max(e.all_error for e in errors),
        "bound_p50": median(e.all_bound for e in errors),
        "share_of_bound_max": max(e.all_error / e.all_bound for e in errors),
        "share_of_weight_bound_max": max(e.weights_error / e.weights_bound for e in errors),
        "worst_case_p50": median(e.worst for e in errors),
    }
