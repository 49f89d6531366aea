"""The embedded engine: one model, one sequence at a time. Batch one is the product."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from decoding import unbounded
from decoding.canvas import constrained
from decoding.deadline import hurried
from decoding.flow import Flow
from decoding.fork import lineage, together, up_to
from decoding.grammar import Grammar, GrammarRows
from decoding.guarantees import is_lossless
from decoding.loop import run
from decoding.reduce import reduce
from decoding.rules import sampler
from decoding.scaffold import Scaffold
from decoding.schema import SchemaError, build, plain, template
from decoding.template import Template
from decoding.vocabulary import Vocabulary
from edge import tuned
from edge.core.blockspec import BlockSpec
from edge.core.errors import CheckpointError, InputError, UnknownNameError, UnsupportedError
from edge.core.recent import Recent
from edge.core.registry import Registry
from edge.core.types import Canvas, Strategy
from edge.generation import Generation
from edge.models.backbone import Backbone
from edge.models.loading import load_model
from edge.models.session import SCRATCH, Session
from edge.models.text import ChatTokenizer, Message
from edge.pace import Hurry, Pace, hurry, section_names
from edge.trace.observe import Trace, Tracer

STRATEGIES: Registry[Callable[..., Strategy]] = Registry("edge.strategies", "strategy")
KEPT = 64
"""Compiled schemas that are kept for requests to come."""
SCAFFOLD = "scaffold"
"""The name that Fast-dDrive gives self-speculation under a schema."""
Constrained = Scaffold | Flow | GrammarRows | None
Compiled = Scaffold | Flow | Grammar
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


class Engine:
    """A loaded checkpoint and what runs it."""

    def __init__(self, backbone: Backbone, path: Path) -> None:
        self.backbone, self.path = backbone, path
        self._session: Session | None = None
        self._tuned = tuned.read(path)
        self._compiled: Recent[str, Compiled] = Recent(KEPT)
        self._paces: Recent[tuple[str, tuple[str, ...]], Pace] = Recent(KEPT)

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
        if isinstance(schema, Compiled):
            return schema
        if isinstance(schema, Template):
            return self._template(schema)
        if not (isinstance(schema, dict) or (isinstance(schema, type) and issubclass(schema, BaseModel))):
            raise UnsupportedError(
                f"schema must be a JSON schema, a pydantic model class, a Template or a compiled one: got {type(schema).__name__}"
            )
        try:
            made = template(schema)
        except SchemaError as e:
            if not e.unbounded:
                raise
        else:
            return self._template(made)
        return self._compiled.get(json.dumps(plain(schema), default=repr), lambda: unbounded.compile(schema, self._vocabulary))

    def _template(self, made: Template) -> Compiled:
        def compiled() -> Compiled:
            size, pad = self.backbone.vocab_size, self.spec.pad_token_id
            stop = self.spec.stop_ids[0] if self.spec.stop_ids else None
            return build(made, self.tokenizer, vocab_size=size, pad_token_id=pad, stop_id=stop)

        return self._compiled.get(made.model_dump_json(), compiled)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        """The tokenizer for grammars."""
        spec, size = self.spec, self.backbone.vocab_size
        ids = (*spec.stop_ids, spec.mask_token_id, spec.pad_token_id, self.backbone.image_token_id)
        never = [i for i in ids if i is not None]
        size = min(size, spec.vocab_limit or size)
        return Vocabulary(self.tokenizer, vocab_size=size, stop_id=spec.stop_ids[0] if spec.stop_ids else None, never=never)

    def generate(
        self,
        prompt: Sequence[int] | Sequence[Message],
        *,
        images: Sequence[Any] = (),
        strategy: str = "self-spec",
        schema: Any = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        rollouts: int = 1,
        fork_at: str | None = None,
        deadline_ms: float | None = None,
        sections: Sequence[str] | None = None,
        trace: Trace | None = None,
        **options: Any,
    ) -> Generation:
        """Answer a prompt: chat messages, or token ids (with image placeholder ids where images go).

        images: PIL images, file paths or uint8 arrays [H, W, 3], in the order of their places in the prompt.
        schema: what the answer must follow: a JSON schema, a pydantic model class, or a compiled one. options: the strategy's own,
        such as block_size or threshold. rollouts: answers that part at section `fork_at` (by default the last), sampled with the
        seeds seed, seed + 1, ... after a greedy beginning, and joined by option `reducer` (mean, median, medoid).
        deadline_ms: when it will be missed, sections that do not have to be there are closed (their names are in
        `skipped_sections`, and `finish_reason` is "deadline"). sections: those that have to be there, by default all but those of
        free text alone; without a deadline the others are left out at once. Where a grammar is followed there are no
        sections: a late answer ends as soon as it can. trace: is told what every forward did.
        Raises InputError for bad prompts, images and options, UnsupportedError for what this checkpoint cannot do.
        """
        start = time.perf_counter()
        if strategy == SCAFFOLD:
            if schema is None:
                raise InputError(f"strategy {SCAFFOLD!r} is self-speculation with a schema: give a schema, or take 'self-spec'")
            strategy = "self-spec"
        reducer = options.pop("reducer", "mean")
        options = options or self.settings(strategy)
        compiled = None if schema is None else self.constraint(schema)
        pace = self._paces.get((strategy, section_names(compiled)), Pace)
        rush = hurry(compiled, sections, deadline_ms, start, pace)
        strategies = [self._strategy(strategy, temperature, top_p, seed + n, options, rush) for n in range(max(rollouts, 1))]
        clock = _Clock(start)
        ids, features = self._prompt(prompt, images)
        clock.lap("vision")
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1: got {max_new_tokens}")
        constraint = compiled.within(max_new_tokens) if isinstance(compiled, Grammar) else compiled
        if constraint is not None and len(constraint) > max_new_tokens:
            longest = f"the schema's answer may have {len(constraint)} tokens"
            raise InputError(
                f"{longest}: max_new_tokens is {max_new_tokens}; raise it, or lower the budgets of the schema's strings"
            )
        canvas = self._canvas(ids, constraint, max_new_tokens, options.get("block_size"))
        # beside the answer's rows on the trunk: drafts from the frontier, from the end of the proposal and from each branch
        scratch = SCRATCH + (2 + options.get("branches", 0)) * (len(canvas) - len(ids))
        exact = is_lossless(STRATEGIES.get(strategy))
        follow = _unwatched if trace is None else Tracer(trace, strategy, lambda token: self._text([token])).follow
        if rollouts == 1 and fork_at is None:
            session = self._session_for(ids, features, len(canvas), scratch)
            clock.watch(run(follow(strategies[0](canvas, self.spec), canvas), session))
            branches = [canvas]
        else:
            fork = self._fork_row(constraint, fork_at, rollouts, temperature)
            session = self._session_for(ids, features, len(canvas), scratch + rollouts * (len(canvas) + scratch))
            greedy = self._strategy(strategy, 0.0, 1.0, seed, options, rush)
            beginning = up_to(greedy(canvas, self.spec), canvas, canvas.prompt_len + fork, self.spec)
            clock.watch(run(follow(beginning, canvas), session))
            branches = [lineage(canvas) for _ in strategies]
            pairs = zip(strategies, branches, strict=True)
            clock.watch(together([follow(s(c, self.spec), c, n) for n, (s, c) in enumerate(pairs, start=1)], session))
        if rush is not None:
            rush.done(session.forwards, branches[0].skipped)
        late = deadline_ms is not None
        answers = [self._result(c, constraint, session, exact, late, clock) for c in branches]
        return answers[0] if len(answers) == 1 and fork_at is None else self._joined(answers, constraint, reducer)

    def settings(self, strategy: str) -> dict[str, Any]:
        """Options of a strategy that were measured to be best on this device (`edge bench rows --keep`), if any were.

        They were measured together, so they are taken together: whoever gives one of them gives all that shall differ.
        """
        entry = self._tuned.find(self.backbone.device, self.backbone.dtype)
        return dict(entry.defaults.get(strategy, {})) if entry is not None else {}

    def _session_for(self, ids: torch.Tensor, features: Any, capacity: int, scratch: int) -> Session:
        """The engine's one session, started over: a static cache, whatever became of the last request."""
        if self._session is None:
            self._session = Session(self.backbone, ids, features, capacity=capacity, scratch=scratch)
        else:
            self._session.reset(ids, features, capacity=capacity, scratch=scratch)
        return self._session

    def _fork_row(self, constraint: Constrained, section: str | None, rollouts: int, temperature: float) -> int:
        """The answer row where rollouts part. Raises for what cannot be forked."""
        if not isinstance(constraint, Scaffold):
            raise UnsupportedError(
                "rollouts part at a section whose rows are known: give a schema of bounded size, and a checkpoint with padding"
            )
        if rollouts < 1 or temperature == 0:
            raise InputError(f"rollouts are sampled: need rollouts >= 1 and temperature > 0, got {rollouts} and {temperature}")
        starts = {s.name: s.start for s in constraint.sections}
        name = section if section is not None else constraint.sections[-1].name
        if name not in starts:
            raise UnknownNameError("section", name, starts)
        return starts[name]

    def _joined(self, branches: list[Generation], constraint: Constrained, reducer: str) -> Generation:
        """One answer from rollouts: the numbers reduced, everything else of the most central rollout."""
        assert isinstance(constraint, Scaffold)
        values = [constraint.values(torch.tensor(b.tokens)) for b in branches]
        joined, spread = reduce(constraint.template, values, reducer)
        tokens = constraint.fill(joined)
        open_, pad = constraint.open_rows(tokens)
        text = self._text(tokens.tolist())
        return replace(
            branches[0], tokens=tokens.tolist(), text=text, open_tokens=open_, pad_tokens=pad, branches=tuple(branches),
            spread=tuple(float(x) for x in spread),
        )  # fmt: skip

    def _strategy(
        self, name: str, temperature: float, top_p: float, seed: int, options: dict[str, Any], rush: Hurry | None
    ) -> Callable[[Canvas, BlockSpec], Strategy]:
        function = STRATEGIES.get(name)
        if temperature < 0 or not 0 < top_p <= 1:
            raise InputError(f"temperature must be 0 or more and top_p in (0, 1]: got {temperature} and {top_p}")
        known = {p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY} - {"pick"}
        for option, value in options.items():
            if option not in known:
                raise UnknownNameError(f"option of strategy {name!r}", option, known)
            if option == "block_size" and not (isinstance(value, int) and value >= 1):
                raise InputError(f"block_size must be a positive integer: got {value!r}")
            if option == "branches" and not (isinstance(value, int) and value >= 0):
                raise InputError(f"branches must be 0 or more: got {value!r}")
            if option == "threshold" and not 0 <= value <= 1:
                raise InputError(f"threshold must be a probability: got {value!r}")
        pick = sampler(temperature, top_p, seed)

        def plain(canvas: Canvas, spec: BlockSpec) -> Strategy:
            return function(canvas, spec, pick=pick, **options)

        if rush is None:
            return plain
        return lambda canvas, spec: hurried(lambda: plain(canvas, spec), canvas, spec, rush.clock, rush.optional, pick)

    def _prompt(self, prompt: Sequence[Any], images: Sequence[Any]) -> tuple[torch.Tensor, Any]:
        """Prompt ids int64 [P] and what the vision tower made of the images."""
        features = self.backbone.encode_images(images) if len(images) else None
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

    def _canvas(self, ids: torch.Tensor, constraint: Constrained, max_new_tokens: int, block_size: int | None) -> Canvas:
        if constraint is None:
            return Canvas.open(ids, max_new_tokens)
        return constrained(ids, constraint, block_size or self.spec.block_size)

    def _result(
        self, canvas: Canvas, constraint: Constrained, session: Session, exact: bool, deadline: bool, clock: _Clock
    ) -> Generation:
        answer = canvas.answer()
        tokens = answer.tolist()
        open_, pad = constraint.open_rows(answer) if constraint is not None else (len(tokens), 0)
        assert canvas.finish is not None
        late = deadline and (bool(canvas.skipped) or canvas.finish == "deadline")
        return Generation(
            tokens=tokens,
            text=self._text(tokens),
            finish_reason="deadline" if late else canvas.finish,
            lossless=exact and not late,
            forwards=session.forwards,
            rows=session.rows,
            open_tokens=open_,
            pad_tokens=pad,
            skipped_sections=canvas.skipped,
            timings=clock.done(),
        )

    def _text(self, tokens: list[int]) -> str:
        """Decoded answer, or nothing where the folder has no tokenizer."""
        if not any((self.path / f).exists() for f in TOKENIZER_FILES):
            return ""
        return self.tokenizer.decode([t for t in tokens if t != self.spec.pad_token_id])


class _Clock:
    """Milliseconds by phase."""

    def __init__(self, start: float) -> None:
        self._start = self._last = start
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = self._laps.get(name, 0.0) + (now - self._last) * 1e3
        self._last = now

    def watch(self, forwards: Iterator[Any]) -> None:
        """Run a decoding to its end; its first forward, if it is the first of all, is the prefill."""
        for _ in forwards:
            if "prefill" not in self._laps:
                self.lap("prefill")
        self.lap("decode")

    def done(self) -> dict[str, float]:
        return self._laps | {"total": (time.perf_counter() - self._start) * 1e3}


def _unwatched(strategy: Strategy, canvas: Canvas, lineage: int = 0) -> Strategy:
    return strategy
