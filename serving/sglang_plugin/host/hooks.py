"""What is changed in SGLang 0.5.23, each with the reason and the parameters that its target must have."""

from __future__ import annotations

import copy
import logging
import random
from array import array
from typing import Any

import torch

from edge.core.errors import EdgeError
from serving.sglang_plugin import active
from serving.sglang_plugin.checkpoint import ALGORITHMS, SERVING_KEY, Checkpoint, Serving
from serving.sglang_plugin.request import accept, join

logger = logging.getLogger(__name__)

REQUEST = "sglang.srt.managers.schedule_batch.Req"
SCHEDULER = "sglang.srt.dllm.mixin.scheduler.SchedulerDllmMixin"
CONFIG = "sglang.srt.dllm.config.DllmConfig.from_server_args"
PAGES = "sglang.srt.arg_groups.dllm_hook._dllm_page_size"
FILL = f"{REQUEST}._init_fill_ids_for_dllm"
PREFIX = f"{REQUEST}._compute_max_prefix_len"
OWNED = f"{REQUEST}.owned_kv_len"
FINISH = f"{REQUEST}.update_finish_state"
VALIDATE = f"{SCHEDULER}.validate_dllm_request"
STASH = f"{SCHEDULER}._stash_dllm_context"
GRAMMAR = "sglang.srt.constrained.grammar_manager.GrammarManager.process_req_with_grammar"
POSITIONS = "sglang.srt.model_executor.forward_batch_info.ForwardBatch._compute_mrope_positions_extend"
BATCH = "sglang.srt.managers.tp_worker.TpModelWorker._forward_batch_generation_dllm"
IMAGES = "sglang.srt.managers.io_struct.GenerateReqInput._normalize_image_data"
SEND = "sglang.srt.managers.tokenizer_manager.TokenizerManager._send_one_request"


def ours(algorithm: str | None) -> bool:
    return algorithm in ALGORITHMS


def _served(request: Any) -> bool:
    return hasattr(request, active.ATTRIBUTE)


# --- configuration ----------------------------------------------------------------------------------------------------------


def config(original: Any, server_args: Any) -> Any:
    """Rows per request and mask id of a converted checkpoint: SGLang has them in a table of architectures."""
    from sglang.srt.arg_groups.overrides import resolving_view
    from sglang.srt.configs.model_config import ModelConfig
    from sglang.srt.dllm.config import DllmConfig

    cfg = resolving_view(server_args)
    if not ours(cfg.dllm_algorithm):
        return original(server_args)
    model = ModelConfig.from_server_args(server_args, model_path=cfg.model_path, model_revision=cfg.revision)
    asked = getattr(model.hf_config, SERVING_KEY, None) or {}
    served = active.use(
        (cfg.model_path, cfg.dllm_algorithm, repr(asked)),
        lambda: Checkpoint.load(cfg.model_path, cfg.dllm_algorithm, Serving.model_validate(asked)),
    )
    return DllmConfig(
        algorithm=cfg.dllm_algorithm,
        algorithm_config={},
        block_size=served.rows,
        mask_id=served.spec.mask_token_id,
        max_running_requests=cfg.max_running_requests or 1,
        first_done_first_out_mode=cfg.dllm_fdfo,
        requires_separate_context_encoding=True,
    )


def pages(original: Any, view: Any) -> dict[str, Any]:
    """Pages as the server was started with: SGLang makes them a block long, so that it may drop blocks whole. Ours keep any number
    of rows, and a prompt is reusable token by token; a block-causal one block by block."""
    if not ours(view.dllm_algorithm):
        return original(view)
    from sglang.srt.dllm.config import DllmConfig

    DllmConfig.from_server_args(view)  # reads the checkpoint
    spec = active.checkpoint().spec
    if spec.prompt != "block" or view.page_size == spec.block_size:
        return {}
    return {"page_size": spec.block_size}


# --- requests ---------------------------------------------------------------------------------------------------------------


def validate(original: Any, self: Any, req: Any) -> str | None:
    """A request that cannot be honoured gets a 400; any other its canvas."""
    if self.dllm_config is None or not ours(self.dllm_config.algorithm):
        return original(self, req)
    room = self.max_req_len - len(req.origin_input_ids) - self.dllm_config.block_size
    try:
        lineage = accept(req, active.checkpoint(), max(room, 0))
    except (EdgeError, ValueError) as e:
        return str(e)
    except RecursionError:
        return "the schema is nested too deeply; flatten it"
    except Exception as e:  # one request must not end a scheduler that serves others
        logger.exception("request %s could not be accepted", req.rid)
        return f"the request could not be accepted ({type(e).__name__}); the server's log says why"
    setattr(req, active.ATTRIBUTE, lineage)
    return None


def grammar(original: Any, self: Any, req: Any) -> bool:
    """Our schemas are compiled already. SGLang would put the request in a queue that its diffusion scheduler never empties."""
    return False if _served(req) else original(self, req)


def images(original: Any, self: Any, num: int) -> None:
    """Several images of one prompt with n > 1: SGLang takes the list for one image per prompt, and refuses it."""
    several = isinstance(self.image_data, list) and len(self.image_data) > 1 and not isinstance(self.image_data[0], list)
    if several and self.parallel_sample_num > 1 and self.batch_size == 1:
        self.image_data = [self.image_data]
    original(self, num)


async def seeds(original: Any, self: Any, tokenized_obj: Any) -> None:
    """The i-th of n answers is sampled with seed + i; who gives no seed gets one here, so that all ranks have the same."""
    from sglang.srt.runtime_context import get_exec

    params = getattr(tokenized_obj, "sampling_params", None)
    if params is not None and ours(get_exec().dllm.dllm_algorithm):
        if params.sampling_seed is None and params.top_k != 1:
            params.sampling_seed = random.getrandbits(31)
        if params.n > 1 and params.max_new_tokens != 0 and params.sampling_seed is not None:
            tokenized_obj.sampling_params = copy.copy(params)
            params.sampling_seed += 1  # the other answers share this object
    await original(self, tokenized_obj)


def finish(result: None, self: Any, new_accepted_len: int = 1) -> None:
    """An answer that is complete without a stop token is finished all the same, and one with several stop strings ends before the
    first in its text: SGLang takes the first of the request's list, which is the same only where tokens come singly.
    """
    if not _served(self) or self.sampling_params.max_new_tokens == 0:
        return
    if self.finished():
        return _at_first_stop(self)
    lineage = active.lineage(self)
    if not lineage.finished:
        return
    from sglang.srt.managers.schedule_batch import FINISH_LENGTH, FINISH_MATCHED_STR

    if lineage.canvas.finish == "length":
        self.finished_reason = FINISH_LENGTH(length=len(self.output_ids))
    else:
        self.finished_reason = FINISH_MATCHED_STR(matched=None)  # type: ignore[arg-type]  # nothing to cut off


def _at_first_stop(req: Any) -> None:
    from sglang.srt.managers.schedule_batch import FINISH_MATCHED_STR

    stops = req.sampling_params.stop_strs
    if not isinstance(req.finished_reason, FINISH_MATCHED_STR) or req.finished_reason.matched not in stops:
        return
    text = req.tokenizer.decode(req.output_ids)
    at, first = min((text.find(s), s) for s in stops if s in text)
    end = next(n for n in range(1, len(req.output_ids) + 1) if len(req.tokenizer.decode(req.output_ids[:n])) >= at + len(first))
    req.finished_reason = FINISH_MATCHED_STR(matched=first)
    req.finished_len = min(end, req.sampling_params.max_new_tokens)


# --- context and kept rows --------------------------------------------------------------------------------------------------


def fill_ids(original: Any, self: Any) -> None:
    """The context of a request, and behind it a window of rows that begins where its kept rows end.

    SGLang's own window begins behind all that was said, after a pass that encodes what was accepted once more.
    """
    if not _served(self):
        return original(self)
    lineage = active.lineage(self)
    if not self.dllm_initialized:
        self.dllm_has_literal_mask = False
        join(self, active.checkpoint(), lineage)
        lineage.restart()
    at = lineage.kept if lineage.running else lineage.context
    self.dllm_block_offset = at
    self.full_untruncated_fill_ids = _ids(self, at)
    if self.dllm_initialized:
        self.full_untruncated_fill_ids.extend([0] * self.dllm_config.block_size)
    self.dllm_initialized = True
    return None


def _ids(req: Any, end: int) -> array[int]:
    """The first `end` tokens of a request's prompt and answer."""
    prompt = req.origin_input_ids
    answer = active.lineage(req).canvas.tokens[len(prompt) : end].tolist()
    return array("q", [*prompt[:end], *answer])


def max_prefix(original: Any, self: Any, input_len: int) -> int:
    """Everything but the last row of a causal context can be reused, not only whole blocks."""
    if not _served(self):
        return original(self, input_len)
    longest = max(0, min(input_len - 1, self.dllm_block_offset))
    spec = active.checkpoint().spec
    return longest if spec.prompt == "causal" else longest // spec.block_size * spec.block_size


def stash(original: Any, self: Any, req: Any) -> None:
    """Keep the rows that the round made permanent, and drop the others. SGLang drops all of the block."""
    if not _served(req):
        return original(self, req)
    kept = active.lineage(req).kept
    req.full_untruncated_fill_ids = _ids(req, kept)
    req.dllm_block_offset = kept
    req.extend_end = kept + self.dllm_config.block_size
    return original(self, req)


def owned(original: Any, self: Any) -> int:
    """Rows that a finished request gives back begin behind those that the prefix tree holds. SGLang counts them by the tokens that
    the client gets, and what the answers of a fork share is kept though no client gets it: it would be given back twice."""
    return max(original(self), self.kv.cache_protected_len) if _served(self) else original(self)


def positions(original: Any, self: Any, model_runner: Any, batch: Any) -> None:
    """M-RoPE positions of rows past the prompt: SGLang's table ends there, and it has no more than one column beyond."""
    if batch.dllm_config is None or not ours(batch.dllm_config.algorithm):
        return original(self, model_runner, batch)
    rows = []
    for images, start, n in zip(batch.multimodal_inputs, batch.prefix_lens, batch.extend_lens, strict=True):
        at = torch.arange(start, start + n).expand(3, -1).clone()
        if images is not None and images.mrope_positions is not None:
            table = images.mrope_positions
            inside = min(max(table.shape[1] - start, 0), n)
            at += int(images.mrope_position_delta)
            at[:, :inside] = table[:, start : start + inside]
        rows.append(at)
    self.mrope_positions = torch.cat(rows, dim=1).to(dtype=torch.int64, device=model_runner.device)
    return None


def requests(original: Any, self: Any, forward_batch: Any, batch: Any = None) -> Any:
    """Tell the algorithm which requests it decodes: SGLang shows it tensors alone."""
    if _ours_algorithm(self.dllm_algorithm):
        self.dllm_algorithm.requests = batch.reqs if batch is not None else ()
        for r in self.dllm_algorithm.requests:  # a context may go on behind the prompt, and a client counts its prompt alone
            r.cached_tokens = min(r.cached_tokens, len(r.origin_input_ids))
    return original(self, forward_batch, batch)


def _ours_algorithm(algorithm: Any) -> bool:
    return type(algorithm).__name__ in ALGORITHMS


AROUND: dict[str, tuple[Any, tuple[str, ...]]] = {
    CONFIG: (config, ("server_args",)),
    PAGES: (pages, ("view",)),
    VALIDATE: (validate, ("self", "req")),
    GRAMMAR: (grammar, ("self", "req")),
    IMAGES: (images, ("self", "num")),
    SEND: (seeds, ("self", "tokenized_obj")),
    FILL: (fill_ids, ("self",)),
    PREFIX: (max_prefix, ("self", "input_len")),
    STASH: (stash, ("self", "req")),
    OWNED: (owned, ("self",)),
    POSITIONS: (positions, ("self", "model_runner", "batch")),
    BATCH: (requests, ("self", "forward_batch", "batch")),
}
AFTER: dict[str, tuple[Any, tuple[str, ...]]] = {FINISH: (finish, ("self", "new_accepted_len"))}
