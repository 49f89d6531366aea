"""The embedded engine: one model, one sequence at a time. Batch one is the product."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from decoding.canvas import constrained, prefill
from decoding.flow import Flow
from decoding.fork import lineage, together, up_to
from decoding.grammar import Grammar
from decoding.guarantees import is_lossless
from decoding.loop import run
from decoding.reduce import LIKELIEST, reduce
from decoding.scaffold import Scaffold
from edge import stopping, tuned
from edge.core.blockspec import BlockSpec
from edge.core.errors import CheckpointError, InputError, UnknownNameError, UnsupportedError
from edge.core.recent import Recent
from edge.core.types import Canvas, Strategy
from edge.course import Course
from edge.encoded import ANSWER_ROOM, Encoded
from edge.generation import Generation
from edge.models.backbone import Backbone, ImageFeatures
from edge.models.images import fingerprint, read_image
from edge.models.loading import load_model
from edge.models.session import SCRATCH, Session
from edge.models.text import ChatTokenizer, Message
from edge.pace import Pace, hurry, section_names
from edge.schemas import Compiled, Constrained, Schemas
from edge.strategies import STRATEGIES, prepared, resolve
from edge.trace.observe import Trace, Tracer

PACES = 64
"""Pairs of strategy and schema whose times are remembered."""
LONG = 1024
"""Tokens of the longest answer where neither the request nor a schema says how long."""
VIEWS = 4
"""Sets of images whose features are kept for requests to come."""
Watch = Callable[[Sequence[Canvas]], None]
"""Is shown the canvases of a generation's lineages after every forward; not to be changed."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


class Engine:
    """A loaded checkpoint and what runs it."""

    def __init__(self, backbone: Backbone, path: Path) -> None:
        self.backbone, self.path = backbone, path
        self.reuse = False
        """Whether a request goes on from what the last one left: rows of the prompt that both begin with are not computed again,
        nor features of the same images. Servers set it; off, a request costs the same whatever came before."""
        self._session: Session | None = None
        self._tuned = tuned.read(path)
        self._schemas = Schemas(backbone.spec, backbone.vocab_size, backbone.image_token_id, lambda: self.tokenizer)
        self._paces: Recent[tuple[str, tuple[str, ...]], Pace] = Recent(PACES)
        self._views: Recent[tuple[bytes, ...], ImageFeatures] = Recent(VIEWS)

    @classmethod
    def load(cls, path: str | Path, *, device: Any = None, dtype: Any = None, adapter: str = "lean") -> Engine:
        """Load a folder written by `save_pretrained` whose `config.json` has `block_diffusion`.

        device: "cpu", "cuda", ...; None picks CUDA when there is one. dtype: name or torch.dtype; None keeps the checkpoint's on
        CUDA and takes float32 on a CPU. Raises CheckpointError with one line on anything missing or inconsistent.
        """
        return cls(load_model(path, device=device, dtype=dtype, adapter=adapter), Path(path))

    @property
    def spec(self) -> BlockSpec:
        return self.backbone.spec

    @cached_property
    def tokenizer(self) -> ChatTokenizer:
        """Read when first needed: prompts may be given as ids."""
        if not any((self.path / f).exists() for f in TOKENIZER_FILES):
            raise CheckpointError(f"{self.path}: holds no tokenizer.json; pass the prompt as token ids or copy the tokenizer there")
        return ChatTokenizer.load(self.path, self.backbone.image_token_id)

    def constraint(self, schema: Any) -> Compiled:
        """What `schema` lets an answer be, compiled for this checkpoint (and kept): a JSON schema, a pydantic model class or a
        template; a compiled one as it is. Answers of known longest form get frozen rows, others a grammar that is followed token by
        token. Raises SchemaError for a schema that cannot be honoured.
        """
        return self._schemas.compile(schema)

    def generate(
        self,
        prompt: Sequence[int] | Sequence[Message],
        *,
        images: Sequence[Any] = (),
        strategy: str = "self-spec",
        schema: Any = None,
        max_new_tokens: int | None = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        rollouts: int = 1,
        fork_at: str | int | None = None,
        deadline_ms: float | None = None,
        sections: Sequence[str] | None = None,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        trace: Trace | None = None,
        watch: Watch | None = None,
        **options: Any,
    ) -> Generation:
        """Answer a prompt: chat messages, or token ids (with image placeholder ids where images go).

        images: PIL images, file paths or uint8 arrays [H, W, 3], in the order of their places in the prompt. max_new_tokens: None
        for as many as a schema's answer may have, or up to LONG.
        schema: what the answer must follow: a JSON schema, a pydantic model class, or a compiled one. options: the strategy's own,
        such as block_size or threshold. rollouts: answers that part at section or answer row `fork_at` (by default the last
        section), sampled with the seeds seed, seed + 1, ... after a greedy beginning, and joined by option `reducer` (mean,
        median, medoid, or the likeliest of them; None: not joined, the first is the answer and all are its `branches`).
        deadline_ms: when it will be missed, sections that do not have to be there are closed (their names are in
        `skipped_sections`, and `finish_reason` is "deadline"). sections: those that have to be there, by default all but those of
        free text alone; without a deadline the others are left out at once. Where a grammar is followed there are no
        sections: a late answer ends as soon as it can.
        stop: strings that end the answer; its text ends before them. logprobs: log-probabilities of the answer's tokens, and so
        many alternatives, as causal decoding has them. trace: is told what every forward did. watch: is shown the canvases of all
        lineages after every forward; what it raises ends the generation, and the engine is ready for the next.
        Raises InputError for bad prompts, images and options, UnsupportedError for what this checkpoint cannot do.
        """
        clock = _Clock()
        strategy = resolve(strategy, schema)
        reducer = options.pop("reducer", "mean")
        options = options or self.settings(strategy)
        exact, forks = is_lossless(STRATEGIES.get(strategy)), rollouts != 1 or fork_at is not None
        heard = 0 if logprobs is None and forks and reducer == LIKELIEST else logprobs
        if heard is not None and not exact:
            raise UnsupportedError(f"log-probabilities are those of causal decoding, and strategy {strategy!r} decides by others")
        compiled = None if schema is None else self.constraint(schema)
        rush = hurry(compiled, sections, deadline_ms, clock.start, self._paces.get((strategy, section_names(compiled)), Pace))
        tracer = None if trace is None else Tracer(trace, strategy, lambda token: self.text([token]))
        ends = stopping.check(stop)
        start = prepared(strategy, options)
        course = Course(self.spec, start, temperature, top_p, seed, rush, ends, heard, self.text, tracer)
        ids, features = self._prompt(prompt, images)
        clock.lap("vision")
        most = self._most(compiled, len(ids)) if max_new_tokens is None else max_new_tokens
        constraint = self._within(compiled, most)
        fork = self._fork_row(constraint, fork_at, rollouts, temperature, reducer, ends) if forks else None
        canvas = self._canvas(ids, constraint, most, options.get("block_size"))
        # beside the answer's rows on the trunk: drafts from the frontier, from the end of the proposal and from each branch
        scratch = SCRATCH + (2 + options.get("branches", 0)) * (len(canvas) - len(ids))
        if forks:
            scratch += rollouts * (len(canvas) + scratch)
        session, canvas.kept = self._session_for(ids, features, len(canvas), scratch)
        cached = canvas.kept
        if fork is None:
            branches = [canvas]
            clock.watch(run(course.alone(canvas), session), branches, watch)
        else:
            beginning = up_to(course.beginning(canvas), canvas, canvas.prompt_len + fork, self.spec)
            clock.watch(run(course.followed(beginning, canvas), session), [canvas], watch)
            branches = [lineage(canvas) for _ in range(rollouts)]
            clock.watch(together(course.forked(branches), session), branches, watch)
        if rush is not None:
            rush.done(session.forwards, branches[0].skipped)
        late = deadline_ms is not None
        whole = _Counts(len(ids), cached, session.forwards, session.rows, clock.laps)
        answers = [self._result(c, n, course, constraint, whole, exact, late) for n, c in enumerate(branches, start=int(forks))]
        answer = answers[0] if fork is None else self._joined(answers, constraint, reducer)
        if logprobs is None and heard is not None:  # nobody asked: they were heard to choose by
            answer = replace(answer, branches=tuple(replace(b, logprobs=None) for b in answer.branches))
        clock.done()
        return answer

    def encode(self, prompt: Sequence[int] | Sequence[Message], *, images: Sequence[Any] = ()) -> Encoded:
        """Put a prompt into the cache and say what the layers keep of it. With `reuse`, a following `generate` of the same prompt
        and images goes on from there.

        Raises InputError for bad prompts and images, UnsupportedError for a checkpoint that does not keep a prompt as a whole.
        """
        if self.spec.prompt == "block" and self.spec.grid_origin == "absolute":
            raise UnsupportedError("this checkpoint's last prompt rows share a block with the answer; encode with one whose do not")
        clock = _Clock()
        ids, features = self._prompt(prompt, images)
        clock.lap("vision")
        room = min(ANSWER_ROOM, max(1, self.backbone.max_positions - len(ids)))
        canvas = self._canvas(ids, None, room, None)
        session, canvas.kept = self._session_for(ids, features, len(canvas), SCRATCH + 2 * room)
        cached = canvas.kept
        for _ in run(_only_prefill(canvas, self.spec), session):
            pass
        values = session.tape.trunk_values()[:, :, : len(ids)].permute(2, 0, 1, 3).flatten(1).float().cpu()
        clock.lap("prefill")
        return Encoded(values, ids.tolist(), cached, clock.laps)

    def ids(self, prompt: Sequence[int] | Sequence[Message], *, images: Sequence[Any] = ()) -> list[int]:
        """The ids of a prompt, a placeholder for every row of an image. Raises InputError as `generate` does."""
        return self._prompt(prompt, images)[0].tolist()

    def forget(self) -> None:
        """The next request computes all anew, to the bit as the first one of an engine."""
        self._session = None
        self._views = Recent(VIEWS)

    def _most(self, compiled: Compiled | None, prompt_rows: int) -> int:
        """Tokens of an answer of which nobody said how long it may be."""
        if isinstance(compiled, Scaffold | Flow):
            return len(compiled)
        return max(1, min(LONG, self.backbone.max_positions - prompt_rows))

    def _within(self, compiled: Compiled | None, max_new_tokens: int) -> Constrained:
        """The constraint of an answer of so many tokens. Raises InputError where a schema's answers may be longer."""
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1: got {max_new_tokens}")
        constraint = compiled.within(max_new_tokens) if isinstance(compiled, Grammar) else compiled
        if constraint is not None and len(constraint) > max_new_tokens:
            longest = f"the schema's answer may have {len(constraint)} tokens"
            raise InputError(
                f"{longest}: max_new_tokens is {max_new_tokens}; raise it, or lower the budgets of the schema's strings"
            )
        return constraint

    def settings(self, strategy: str) -> dict[str, Any]:
        """Options of a strategy that were measured to be best on this device (`edge bench rows --keep`), if any were.

        They were measured together, so they are taken together: whoever gives one of them gives all that shall differ.
        """
        entry = self._tuned.find(self.backbone.device, self.backbone.dtype)
        return dict(entry.defaults.get(strategy, {})) if entry is not None else {}

    def _session_for(self, ids: torch.Tensor, features: Any, capacity: int, scratch: int) -> tuple[Session, int]:
        """The engine's one session, started over (a static cache, whatever became of the last request), and how many rows of the
        prompt it holds already."""
        if self._session is None:
            self._session = Session(self.backbone, ids, features, capacity=capacity, scratch=scratch)
            return self._session, 0
        return self._session, self._session.reset(ids, features, capacity=capacity, scratch=scratch, reuse=self.reuse)

    def _fork_row(
        self,
        constraint: Constrained,
        at: str | int | None,
        rollouts: int,
        temperature: float,
        reducer: str | None,
        stop: Sequence[str],
    ) -> int:
        """The answer row where rollouts part. Raises for what cannot be forked."""
        bounded = isinstance(constraint, Scaffold)
        if not bounded and (reducer is not None or at):
            raise UnsupportedError(
                "rollouts part at a section whose rows are known, and are joined by its numbers: give a schema of bounded size and "
                "a checkpoint with padding, or reducer=None for rollouts that part at the beginning"
            )
        if rollouts < 1 or temperature == 0:
            raise InputError(f"rollouts are sampled: need rollouts >= 1 and temperature > 0, got {rollouts} and {temperature}")
        if reducer is not None and stop:
            raise InputError("rollouts are joined by their schema, which stop strings cut off: give one of them, or reducer=None")
        if not bounded:
            return 0
        if isinstance(at, int):
            if not 0 <= at < len(constraint):
                raise InputError(f"fork_at must be an answer row below {len(constraint)}: got {at}")
            return at
        starts = {s.name: s.start for s in constraint.sections}
        name = at if at is not None else constraint.sections[-1].name
        if name not in starts:
            raise UnknownNameError("section", name, starts)
        return starts[name]

    def _joined(self, branches: list[Generation], constraint: Constrained, reducer: str | None) -> Generation:
        """One answer from rollouts: the numbers reduced, everything else of the most central rollout."""
        if reducer is None:
            return replace(branches[0], branches=tuple(branches))
        assert isinstance(constraint, Scaffold)
        values = [constraint.values(torch.tensor(b.tokens)) for b in branches]
        probable = [sum(t.logprob for t in b.logprobs or ()) for b in branches]
        joined, spread = reduce(constraint.template, values, reducer, probable)
        tokens = constraint.fill(joined)
        open_, pad = constraint.open_rows(tokens)
        text = self.text(tokens.tolist())
        return replace(
            branches[0], tokens=tokens.tolist(), text=text, open_tokens=open_, pad_tokens=pad, branches=tuple(branches),
            spread=tuple(float(x) for x in spread), logprobs=None,
        )  # fmt: skip

    def _prompt(self, prompt: Sequence[Any], images: Sequence[Any]) -> tuple[torch.Tensor, ImageFeatures | None]:
        """Prompt ids int64 [P] and what the vision tower made of the images."""
        features = self._features(images) if len(images) else None
        if len(prompt) == 0:
            raise InputError("the prompt is empty: give at least one message or one token id")
        if isinstance(prompt[0], dict):
            ids = self.tokenizer.chat(prompt, features.counts if features is not None else ())
        else:
            ids = [int(i) for i in prompt]
        bad = next((i for i in ids if not 0 <= i < self.backbone.vocab_size), None)
        if bad is not None:
            raise InputError(f"token id {bad} is outside the vocabulary of {self.backbone.vocab_size} ids")
        return torch.tensor(ids), features

    def _features(self, images: Sequence[Any]) -> ImageFeatures:
        """Those of the images; the same images once more are not encoded again where requests may reuse what is there."""
        if not self.reuse:
            return self.backbone.encode_images(images)
        pictures = [read_image(image, n) for n, image in enumerate(images)]
        keys = tuple(fingerprint(p) for p in pictures)
        return self._views.get(keys, lambda: replace(self.backbone.encode_images(pictures), keys=keys))

    def _canvas(self, ids: torch.Tensor, constraint: Constrained, max_new_tokens: int, block_size: int | None) -> Canvas:
        if constraint is None:
            return Canvas.open(ids, max_new_tokens)
        return constrained(ids, constraint, block_size or self.spec.block_size)

    def _result(
        self, canvas: Canvas, number: int, course: Course, constraint: Constrained, whole: _Counts, exact: bool, deadline: bool
    ) -> Generation:
        answer = canvas.answer()
        tokens = answer.tolist()
        open_, pad = constraint.open_rows(answer) if constraint is not None else (len(tokens), 0)
        assert canvas.finish is not None
        late = deadline and (bool(canvas.skipped) or canvas.finish == "deadline")
        return Generation(
            tokens=tokens,
            text=stopping.cut(self.text(tokens), course.stop),
            finish_reason="deadline" if late else canvas.finish,
            lossless=exact and not late,
            forwards=whole.forwards,
            rows=whole.rows,
            open_tokens=open_,
            pad_tokens=pad,
            skipped_sections=canvas.skipped,
            timings=whole.timings,
            prompt_tokens=whole.prompt,
            cached_tokens=whole.cached,
            logprobs=course.judged(tokens, number),
        )

    def text(self, tokens: list[int]) -> str:
        """Decoded answer tokens, without padding and special ones; nothing where the folder has no tokenizer."""
        if not any((self.path / f).exists() for f in TOKENIZER_FILES):
            return ""
        return self.tokenizer.decode([t for t in tokens if t != self.spec.pad_token_id])


def _only_prefill(canvas: Canvas, spec: BlockSpec) -> Strategy:
    yield from prefill(canvas, spec)


@dataclass(frozen=True, slots=True)
class _Counts:
    """What a generation cost as a whole."""

    prompt: int
    cached: int
    forwards: int
    rows: int
    timings: dict[str, float]


class _Clock:
    """Milliseconds by phase, `laps`. start: when the request came, in seconds of `time.perf_counter`."""

    def __init__(self) -> None:
        self.start = self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + (now - self._last) * 1e3
        self._last = now

    def watch(self, forwards: Generator[Any, None, None], canvases: Sequence[Canvas], watch: Watch | None) -> None:
        """Run a decoding to its end; its first forward, if it is the first of all, is the prefill."""
        with closing(forwards):
            for _ in forwards:
                if "prefill" not in self.laps:
                    self.lap("prefill")
                if watch is not None:
                    watch(canvases)
        self.lap("decode")

    def done(self) -> None:
        self.laps["total"] = (time.perf_counter() - self.start) * 1e3
