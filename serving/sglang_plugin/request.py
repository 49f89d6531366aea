"""What a request asks of the decoder, out of SGLang's sampling parameters; and what no decoder here can honour."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from decoding.canvas import constrained, settle
from decoding.grammar import Grammar
from decoding.guarantees import is_lossless
from decoding.logprobs import Listener
from decoding.rules import Pick, greedy, sampler
from decoding.scaffold import Scaffold
from edge.core.blockspec import BlockSpec
from edge.core.config import Frozen, explain
from edge.core.errors import InputError, UnknownNameError, UnsupportedError
from edge.core.registry import Registry
from edge.core.types import Canvas, Strategy
from serving.sglang_plugin.checkpoint import Checkpoint, Compiled
from serving.sglang_plugin.lineage import Lineage

STRATEGIES: Registry[Any] = Registry("edge.strategies", "strategy")
ALL = 1 << 30
"""`top_k` of a request that does not limit it, in SGLang."""
EXTENSION = "edge"
"""Key of our fields among a request's `custom_params`."""

NEUTRAL = {
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "repetition_penalty": 1.0,
    "min_new_tokens": 0,
    "min_p": 0.0,
    "logit_bias": None,
    "regex": None,
    "ebnf": None,
    "structural_tag": None,
    "watermark": None,
}
"""Sampling parameters that are refused unless they say nothing, by the name that SGLang gives them."""
UNSERVED = (
    "return_logprob",
    "return_hidden_states",
    "return_routed_experts",
    "custom_logit_processor",
    "return_sampling_mask",
    "input_embeds",
    "session",
)
"""Features of a request that are refused."""


class Extension(Frozen):
    """`custom_params: {"edge": {...}}` of a request."""

    fork_at: str | None = Field(default=None, min_length=1)
    """Section of the schema where the `n` answers part; what comes before is decoded once, greedily."""
    logprobs: bool = False
    """Tell in `meta_info` how probable every token of the answer was."""


class Wish(Frozen):
    """What to decode, and how. schema_text: a JSON schema; phase: "shared" decodes what all answers of a fork share."""

    temperature: float = Field(ge=0)
    top_p: float = Field(gt=0, le=1)
    seed: int
    max_new_tokens: int | None
    ignore_eos: bool
    schema_text: str | None
    fork_at: str | None
    logprobs: bool
    phase: Literal["all", "shared"]


def refusal(request: Any) -> str | None:
    """Why a request (SGLang's `Req`) cannot be honoured, in one line, or None."""
    p = request.sampling_params
    named = [
        name for name, neutral in NEUTRAL.items() if (value := getattr(p, name, neutral)) != neutral and value not in (None, {})
    ]
    named += [name for name in UNSERVED if getattr(request, name, None) not in (None, False, 0, [], "")]
    if getattr(p, "top_k", ALL) not in (1, ALL):
        named.append("top_k")
    if getattr(p, "beam_width", None) not in (None, 1):
        named.append("beam_width")
    if named:
        return f"not supported by block-diffusion decoding: {', '.join(named)}; leave them out of the request"
    return None


def wish(request: Any) -> Wish:
    """The wish of a request that is not refused. Raises InputError for malformed extension fields."""
    p = request.sampling_params
    extension = _extension(getattr(p, "custom_params", None))
    if extension.fork_at is not None and p.json_schema is None:
        raise InputError("edge.fork_at names a section of a JSON schema: give response_format a json_schema")
    return Wish(
        temperature=0.0 if p.top_k == 1 else p.temperature,
        top_p=p.top_p,
        seed=p.sampling_seed or 0,
        max_new_tokens=p.max_new_tokens,
        ignore_eos=bool(p.ignore_eos),
        schema_text=p.json_schema,
        fork_at=extension.fork_at,
        logprobs=extension.logprobs,
        phase="shared" if p.max_new_tokens == 0 and p.n > 1 and extension.fork_at is not None else "all",
    )


def _extension(custom: Any) -> Extension:
    given = custom.get(EXTENSION) if isinstance(custom, dict) else None
    try:
        return Extension.model_validate(given or {})
    except ValidationError as e:
        raise InputError(f"custom_params.{EXTENSION}: {explain(e)}") from None


def require_fits(checkpoint: Checkpoint, compiled: Compiled, max_new_tokens: int) -> None:
    """Raises InputError when an answer may be longer than asked for, UnsupportedError when a block of it has too many rows."""
    if isinstance(compiled, Grammar):
        compiled.within(max_new_tokens)
        return
    if len(compiled) > max_new_tokens:
        raise InputError(
            f"the schema's answer may have {len(compiled)} tokens: max_new_tokens is {max_new_tokens}; raise it, or lower the "
            "budgets of the schema's strings"
        )
    if isinstance(compiled, Scaffold) and (widest := _widest(compiled, checkpoint.block_size)) > checkpoint.rows:
        raise UnsupportedError(
            f"a block of the schema's answer has {widest} rows with the literal text among them and the server computes "
            f"{checkpoint.rows} at once; start it with rows={widest} or shorten the keys"
        )


def _widest(scaffold: Scaffold, block_size: int) -> int:
    """Rows of the longest call that a scaffold asks for: a block from its first open row on, and the pending row before that."""
    open_rows = (~scaffold.frozen).nonzero().flatten()
    inside = ((b, open_rows[(open_rows >= a) & (open_rows < b)]) for a, b in pairwise((0, *scaffold.block_ends(block_size))))
    return max((b - int(rows[0]) + 1 for b, rows in inside if rows.numel()), default=0)


def accept(request: Any, checkpoint: Checkpoint, room: int) -> Lineage:
    """A fresh lineage for a request. room: answer tokens that fit into the server's context behind the prompt.

    Raises EdgeError for a request that cannot be honoured: it gets a 400.
    """
    if why := refusal(request):
        raise UnsupportedError(why)
    asked = wish(request)
    limit = room if asked.max_new_tokens is None else min(asked.max_new_tokens, room)
    prompt = torch.tensor(list(request.origin_input_ids))
    if checkpoint.spec.prompt == "block" and len(prompt) < checkpoint.spec.block_size:
        raise InputError(f"the prompt must fill a block of {checkpoint.spec.block_size} tokens: got {len(prompt)}; say more")
    if asked.schema_text is None or (limit == 0 and asked.phase == "all"):
        return _lineage(checkpoint, asked, Canvas.open(prompt, limit), None)
    compiled = checkpoint.constraint(asked.schema_text)
    if asked.phase == "shared":
        limit = room
    require_fits(checkpoint, compiled, limit)
    constraint = compiled.within(limit) if isinstance(compiled, Grammar) else compiled
    canvas = constrained(prompt, constraint, checkpoint.block_size)
    if asked.fork_at is None:
        return _lineage(checkpoint, asked, canvas, None)
    row = canvas.prompt_len + fork_row(compiled, asked.fork_at)
    if asked.phase == "shared":
        _cut(canvas, row)
    return _lineage(checkpoint, asked, canvas, row)


def join(request: Any, checkpoint: Checkpoint, lineage: Lineage) -> None:
    """What the answers of a fork share, if it was decoded already, becomes part of this one.

    To be called once the request's ids stand for its images, too: before that, two scenes have the same ids.
    """
    asked, canvas = wish(request), lineage.canvas
    if asked.fork_at is None or asked.phase == "shared":
        return
    shared = checkpoint.shared.get(_key(request, asked))
    if shared is None or canvas.frontier >= canvas.prompt_len + len(shared):
        return
    end = canvas.prompt_len + len(shared)
    canvas.tokens[canvas.prompt_len : end] = torch.tensor(shared)
    canvas.decided[canvas.prompt_len : end] = True
    settle(canvas)


def remember(request: Any, checkpoint: Checkpoint, lineage: Lineage) -> None:
    """Keep what the answers of a fork share, once it is decoded."""
    checkpoint.shared.put(_key(request, wish(request)), lineage.canvas.answer().tolist())


def fork_row(compiled: Compiled, section: str) -> int:
    """Answer row where a section begins. Raises UnsupportedError or UnknownNameError."""
    if not isinstance(compiled, Scaffold):
        raise UnsupportedError(
            "answers part at a section whose rows are known: give a schema of bounded size, and a checkpoint with padding"
        )
    starts = {s.name: s.start for s in compiled.sections}
    if section not in starts:
        raise UnknownNameError("section", section, starts)
    return starts[section]


def _key(request: Any, asked: Wish) -> tuple[Any, ...]:
    return tuple(request.origin_input_ids), asked.schema_text, asked.fork_at


def _cut(canvas: Canvas, row: int) -> None:
    canvas.tokens, canvas.decided, canvas.frozen = canvas.tokens[:row], canvas.decided[:row], canvas.frozen[:row]
    canvas.block_ends = (*(e for e in canvas.block_ends if e < row), row)


def _lineage(checkpoint: Checkpoint, asked: Wish, canvas: Canvas, fork: int | None) -> Lineage:
    spec = checkpoint.spec.model_copy(update={"stop_ids": ()}) if asked.ignore_eos else checkpoint.spec
    pick = _greedy_before(fork, sampler(asked.temperature, asked.top_p, asked.seed))
    function, options = STRATEGIES.get(checkpoint.strategy), checkpoint.serving.options(checkpoint.strategy)
    if asked.logprobs and not is_lossless(function):
        raise UnsupportedError(
            f"edge.logprobs: those of causal decoding, and strategy {checkpoint.strategy!r} decides by others; leave it out"
        )
    judge = Listener(canvas, 0) if asked.logprobs else None

    def make(canvas: Canvas, spec: BlockSpec) -> Strategy:
        strategy = function(canvas, spec, pick=pick, **options)
        return strategy if judge is None else judge.listen(strategy)

    return Lineage(canvas, spec, make, judge)


def _greedy_before(row: int | None, pick: Pick) -> Pick:
    """Greedy at canvas rows before `row`, where the answers of a fork are still one."""
    if row is None:
        return pick

    def forked(logits: Tensor, positions: Tensor) -> Tensor:
        return torch.where(positions < row, greedy(logits, positions), pick(logits, positions))

    return forked
