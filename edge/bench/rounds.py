"""What the rounds of a strategy were like: rows of every forward, how often a proposal was rejected, whether a draft stood then."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.core.tracing import State
from edge.trace.record import TraceRecord


@dataclass(slots=True)
class Rounds:
    """Listens to the forwards of any number of answers. rows: of every forward, the prompt's excepted.

    proposed: forwards that showed guesses; rejected: those whose guesses did not all come true; stood: rejected ones after which a
    draft stands nonetheless; hit: those of them whose draft began at the very row that was corrected, so that it knows all that
    is kept.
    """

    rows: list[int] = field(default_factory=list)
    proposed: int = 0
    rejected: int = 0
    stood: int = 0
    hit: int = 0

    def hear(self, record: TraceRecord) -> None:
        if record.forward > 1:
            self.rows.append(record.rows)
        self.proposed += record.accepted + record.corrected + record.rejected > 0
        if not record.corrected:
            return
        wrong = record.states.index(State.CORRECTED)
        self.rejected += 1
        self.stood += any(cut <= wrong for cut in record.cuts)
        self.hit += wrong in record.cuts

    def figures(self) -> dict[str, float]:
        """rejected_share of proposals; stood_share and branch_hit_rate of rejections; and the ratio of forwards that these predict
        over two-pass speculation: one a round instead of two, and one more after a rejection behind which no draft stands.
        """
        rejected = self.rejected / max(self.proposed, 1)
        stood, hit = (n / max(self.rejected, 1) for n in (self.stood, self.hit))
        ratio = (1 + rejected * (1 - stood)) / 2
        return {"rejected_share": rejected, "stood_share": stood, "branch_hit_rate": hit, "predicted_ratio": ratio}
