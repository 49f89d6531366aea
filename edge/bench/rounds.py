"""What the rounds of a strategy were like: rows of every forward, how often a proposal was rejected, whether a draft stood then."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.core.types import TRUNK, Call, Canvas


@dataclass(slots=True)
class Rounds:
    """Listens to forwards (`tell`) of any number of answers. rows: of every forward, the prompt's excepted.

    proposed: forwards that showed guesses on the trunk; rejected: those whose guesses did not all come true; stood: rejected ones
    after which a draft stands nonetheless; hit: those of them whose draft began at the very row that was corrected, so that it
    knows all that is kept.
    """

    answers: int = 0
    rows: list[int] = field(default_factory=list)
    proposed: int = 0
    rejected: int = 0
    stood: int = 0
    hit: int = 0

    def tell(self, before: Canvas, call: Call, after: Canvas) -> None:
        if before.kept == 0:
            self.answers += 1
        else:
            self.rows.append(len(call))
        guesses = self._guesses(before, call)
        if not guesses:
            return
        self.proposed += 1
        wrong = next((r for r, t in guesses if r < len(after) and int(after.tokens[r]) != t), None)
        if wrong is None:
            return
        self.rejected += 1
        drafted_from = {o + 1 for o, m in zip(call.order.tolist(), call.masked.tolist(), strict=True) if m}
        self.stood += any(cut <= wrong for cut in drafted_from)
        self.hit += wrong in drafted_from

    @staticmethod
    def _guesses(before: Canvas, call: Call) -> list[tuple[int, int]]:
        shown = zip(call.position.tolist(), call.tokens.tolist(), call.branch.tolist(), call.masked.tolist(), strict=True)
        return [(r, t) for r, t, branch, masked in shown if branch == TRUNK and not masked and not bool(before.decided[r])]

    def figures(self) -> dict[str, float]:
        """rejected_share of proposals; stood_share and branch_hit_rate of rejections; and the ratio of forwards that these predict
        over two-pass speculation: one a round instead of two, and one more after a rejection behind which no draft stands.
        """
        rejected = self.rejected / max(self.proposed, 1)
        stood, hit = (n / max(self.rejected, 1) for n in (self.stood, self.hit))
        ratio = (1 + rejected * (1 - stood)) / 2
        return {"rejected_share": rejected, "stood_share": stood, "branch_hit_rate": hit, "predicted_ratio": ratio}
