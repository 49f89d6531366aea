"""`edge generate`: one answer from a checkpoint."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import UseAppendAction, arg


@dataclass(frozen=True)
class Generate:
    """Answer a prompt, with images if given; the text goes to standard output, the counts to standard error."""

    model: Path
    """Checkpoint folder."""
    prompt: str
    """User message."""
    image: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="FILE")] = ()
    """An image file; may be given several times, placed before the prompt."""
    schema: Path | None = None
    """JSON schema file that the answer must follow."""
    strategy: str = "self-spec"
    """ar, self-spec or fused; lossy: threshold, factor, entropy-bound, static or section-diffusion."""
    block_size: int | None = None
    """Rows of a block; the checkpoint's own by default."""
    deadline_ms: float | None = None
    """Milliseconds; sections of the schema that do not have to be there are skipped when it would be missed."""
    section: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """A section that has to be there; may be given several times. Without a deadline the others are left out."""
    max_new_tokens: int = 256
    """Longest answer in tokens."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus of the distribution that is sampled from."""
    seed: int = 0
    """Seed of the sampling."""
    dtype: str | None = None
    """float32, bfloat16 or float64."""
    adapter: str = "lean"
    """lean, or transformers for any other architecture."""
    trace: Path | None = None
    """Write what every forward did to this file, a JSON object a line; `edge trace` draws it."""
    watch: bool = False
    """Show the answer filling up, on standard error if that is a terminal."""

    def run(self) -> int:
        import edge
        from edge.cli.tracing import listening

        schema = None if self.schema is None else read_schema(self.schema)
        engine = edge.load(self.model, dtype=self.dtype, adapter=self.adapter)
        content = [*({"type": "image"} for _ in self.image), {"type": "text", "text": self.prompt}]
        options: dict[str, Any] = {} if self.block_size is None else {"block_size": self.block_size}
        with listening(self.trace, self.watch) as trace:
            answer = engine.generate(
                [{"role": "user", "content": content}],
                images=self.image,
                strategy=self.strategy,
                schema=schema,
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                seed=self.seed,
                deadline_ms=self.deadline_ms,
                sections=self.section or None,
                trace=trace,
                **options,
            )
        print(answer.text)
        skipped = f", skipped: {', '.join(answer.skipped_sections)}" if answer.skipped_sections else ""
        rate = len(answer.tokens) / answer.forwards
        print(
            f"{len(answer.tokens)} tokens, {answer.forwards} forwards, {rate:.2f} tokens per forward, "
            f"{answer.timings['total']:.0f} ms, finish: {answer.finish_reason}, lossless: {answer.lossless}{skipped}",
            file=sys.stderr,
        )
        return 0


def read_schema(path: Path) -> dict[str, Any]:
    """A JSON schema from a file. Raises InputError for a missing file, or one that holds no JSON object."""
    import json

    from edge.core.errors import InputError

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a JSON file with the schema") from None
    except ValueError as e:
        raise InputError(f"{path}: not valid JSON: {e}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: a schema is a JSON object, got {type(found).__name__}")
    return found
