"""FP8 folders of tiny models: written, read back, run by both adapters, and what they changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from converters.calibration import Inputs, Request, percentile, read_requests
from converters.quantize import Plan, open_plain, prepare, write
from converters.recipe import Recipe
from converters.run import _copy_base
from edge.core.errors import CheckpointError, InputError, UnsupportedError
from edge.models.fp8_twin import bare
from edge.models.loading import Checkpoint, load_model
from edge.models.session import Session
from edge.quant.e4m3 import DTYPE, decode, rounding_bound
from edge.quant.layout import SCHEMES
from tests.edge.models import tiny

LAYOUTS = tuple(SCHEMES)
PRODUCTS = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`folder(kind, layout=None, **plan)`: a tiny checkpoint, or its quantized copy."""

    @cache
    def make(kind: str, layout: str | None = None, **plan: Any) -> Path:
        if layout is None:
            return tiny.save(tiny.build(kind).to(torch.bfloat16), tmp_path_factory.mktemp(kind))
        source = make(kind)
        out = tmp_path_factory.mktemp(kind) / "fp8"
        checkpoint = open_plain(source)
        write(checkpoint, prepare(checkpoint, Plan(layout, **plan), inputs(source)), out)
        return out

    return make


@cache
def inputs(source: Path) -> Inputs:
    """What the products of a tiny model see on random text, as the `transformers` adapter runs it."""
    from converters.calibration import listen
    from edge.engine import Engine

    engine, seen = Engine.load(source, adapter="transformers"), Inputs()
    remove = listen(engine, lambda name, module, x: seen.hear(name, x))
    logits(engine.backbone)
    remove()
    return seen


def logits(backbone: Any, seed: int = 0) -> Tensor:
    rows = tiny.rows("causal", torch.tensor(tiny.tokens(40, seed)))
    out = Session(backbone, rows.tokens, capacity=60).forward(rows.call()).logits
    return out[:, [i for i in range(tiny.LIMIT) if i != tiny.MASK]].double()


def exact_norms(model: Any) -> None:
    """The norms of `transformers` compute in float32 whatever the model's dtype, enough to round an input the other way."""
    for parent in list(model.modules()):
        for name, norm in list(parent.named_children()):
            if type(norm).__name__.endswith("RMSNorm") and hasattr(norm, "variance_epsilon"):
                exact = torch.nn.RMSNorm(norm.weight.shape, norm.variance_epsilon, dtype=torch.float64)
                exact.weight = norm.weight
                setattr(parent, name, exact)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_both_adapters_run_it_alike(kind: str, layout: str, folder: Callable[..., Path]) -> None:
    """The lean decoder's FP8 products against `transformers` with dequantized weights and rounded inputs, in float64."""
    made = folder(kind, layout)
    lean, twin = (load_model(made, device="cpu", dtype="float64", adapter=a) for a in ("lean", "transformers"))
    exact_norms(twin.model)  # type: ignore[attr-defined]
    got, wanted = logits(lean), logits(twin)
    plain = logits(load_model(folder(kind), device="cpu", dtype="float64"))
    assert float((got - wanted).abs().max()) < 1e-5
    assert float((got - plain).abs().max()) > 1e-2, "nothing was rounded"
    assert float((got - plain).square().mean().sqrt()) < 0.5 * float(plain.std()), "FP8 is far from the model that it was made from"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_dtypes_and_scales(layout: str, folder: Callable[..., Path]) -> None:
    before, after = (Checkpoint.open(f).tensors() for f in (folder("qwen2_5_vl"), folder("qwen2_5_vl", layout)))
    small = {k for k, t in after.items() if t.dtype == DTYPE}
    assert len(small) == 3 * PRODUCTS
    assert all("layers." in k and "visual" not in k for k in small)
    scales = {k for k in after if k.endswith("_scale")}
    assert set(after) - scales == set(before)
    per_module = 2 if SCHEMES[layout].static_input else 1
    assert len(scales) == per_module * len(small)
    assert all(after[k].dtype == torch.float32 for k in scales)
    for key in set(before) - small:
        assert torch.equal(before[key], after[key]), key
        assert after[key].dtype == torch.bfloat16
    for key in small:
        wanted, scale = before[key].float(), after[f"{key}_scale"]
        assert scale.shape == ((wanted.shape[0], 1) if SCHEMES[layout].per_channel else ())
        assert bool(((decode(after[key], scale) - wanted).abs() <= rounding_bound(wanted, scale) * (1 + 1e-5)).all())


def test_json_of_the_layouts(folder: Callable[..., Path]) -> None:
    compressed, modelopt = (folder("qwen2", x) for x in LAYOUTS)
    config = json.loads((compressed / "config.json").read_text())
    assert config["quantization_config"]["format"] == "float-quantized"
    assert config["block_diffusion"] == json.loads((folder("qwen2") / "config.json").read_text())["block_diffusion"]
    assert not (compressed / "hf_quant_config.json").exists()
    file = json.loads((modelopt / "hf_quant_config.json").read_text())
    assert file["quantization"]["quant_algo"] == "FP8"
    assert file["quantization"]["kv_cache_quant_algo"] is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_bytes_again(layout: str, folder: Callable[..., Path], tmp_path: Path) -> None:
    checkpoint = open_plain(folder("qwen3"))
    write(checkpoint, prepare(checkpoint, Plan(layout), inputs(folder("qwen3"))), tmp_path / "again")
    one, two = (
        {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in f.iterdir()}
        for f in (folder("qwen3", layout), tmp_path / "again")
    )
    assert one == two
    assert "model.safetensors" in one


def test_shards_stay_shards(folder: Callable[..., Path], tmp_path: Path) -> None:
    model = tiny.build("qwen2").to(torch.bfloat16)
    model.config.block_diffusion = tiny.SPEC
    model.save_pretrained(tmp_path / "in", max_shard_size="20KB")
    checkpoint = open_plain(tmp_path / "in")
    assert len(checkpoint.shards()) > 2
    write(checkpoint, prepare(checkpoint, Plan("fp8-modelopt"), inputs(folder("qwen2"))), tmp_path / "out")
    assert {p.name for p in Checkpoint.open(tmp_path / "out").shards()} == {p.name for p in checkpoint.shards()}
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    for key, file in index["weight_map"].items():
        with safe_open(tmp_path / "out" / file, framework="pt") as f:
            assert key in f.keys()  # noqa: SIM118 (not a dict)
    whole, parts = (load_model(f, device="cpu", dtype="float64") for f in (folder("qwen2", "fp8-modelopt"), tmp_path / "out"))
    assert torch.equal(logits(whole), logits(parts))


def test_smoothing_alone_changes_no_logit(folder: Callable[..., Path]) -> None:
    """The smoothed, unquantized tensors in the place of the original ones: equal bit for bit, in float32."""
    source = folder("qwen2")
    made = prepare(open_plain(source), Plan("fp8-compressed", smooth=0.5), inputs(source))
    original, changed = (load_model(source, device="cpu", dtype="float32", adapter="transformers") for _ in range(2))
    moved = {bare(k): t for k, t in made.before.items()}
    different = 0
    with torch.no_grad():
        for name, parameter in changed.model.named_parameters():  # type: ignore[attr-defined]
            different += not torch.equal(parameter, moved[bare(name)].float())
            parameter.copy_(moved[bare(name)])
    assert different > 3 * PRODUCTS / 2
    assert torch.equal(logits(original), logits(changed))
    smooth = load_model(folder("qwen2", "fp8-modelopt", smooth=0.5), device="cpu")
    assert float((logits(smooth) - logits(original)).square().mean().sqrt()) < 0.5 * float(logits(original).std())


def test_kept_products_stay_as_they_are(folder: Callable[..., Path]) -> None:
    made = folder("qwen2", "fp8-compressed", keep=("layers.0.*", "layers.1.mlp.down_proj"))
    tensors = Checkpoint.open(made).tensors()
    assert {k for k, t in tensors.items() if t.dtype == DTYPE and "layers.0" in k} == set()
    assert tensors["model.layers.1.mlp.down_proj.weight"].dtype == torch.bfloat16
    assert sum(t.dtype == DTYPE for t in tensors.values()) == 2 * PRODUCTS - 1
    ignored = json.loads((made / "config.json").read_text())["quantization_config"]["ignore"]
    assert "model.layers.0.mlp.down_proj" in ignored
    assert "model.layers.1.mlp.up_proj" not in ignored
    logits(load_model(made, device="cpu"))


def test_percentiles(folder: Callable[..., Path]) -> None:
    seen, x = Inputs(), torch.arange(1.0, 1001.0).view(10, 100)
    seen.hear("a", x[:5])
    seen.hear("a", x[5:])
    assert seen.magnitude("a", "absmax") == 1000
    for clip, wanted in (("p50", 500), ("p99", 990), ("p99.9", 999)):
        assert wanted * 0.99 <= seen.magnitude("a", clip) <= wanted * 1.012
    assert torch.equal(seen.channels["a"], x[9])
    for name in ("p0", "p100", "max", "99"):
        with pytest.raises(InputError, match="absmax or a percentile"):
            percentile(name)


def test_refusals(folder: Callable[..., Path], tmp_path: Path) -> None:
    source = folder("qwen2")
    with pytest.raises(CheckpointError, match="is fp8-modelopt already"):
        open_plain(folder("qwen2", "fp8-modelopt"))
    with pytest.raises(InputError, match="is calibrated: give requests with --calibrate"):
        prepare(open_plain(source), Plan("fp8-modelopt"))
    with pytest.raises(InputError, match="alpha from 0 to 1"):
        Plan("fp8-compressed", smooth=2.0)
    with pytest.raises(InputError, match="exists"):
        write(open_plain(source), prepare(open_plain(source), Plan("fp8-compressed")), tmp_path)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text((source / "config.json").read_text())
    with pytest.raises(CheckpointError, match="holds neither"):
        prepare(open_plain(tmp_path / "bare"), Plan("fp8-compressed"))


def test_a_broken_quantized_folder_is_refused(folder: Callable[..., Path], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for case, key, value, named in (
        ("missing", "model.layers.0.mlp.up_proj.weight_scale", None, "1 missing: layers.0.mlp.up_proj.weight_scale"),
        ("shape", "model.layers.0.mlp.up_proj.weight_scale", torch.ones(3), "1 or 40 scales are needed"),
        ("zero", "model.layers.0.mlp.up_proj.input_scale", torch.zeros(()), "input_scale must be positive"),
    ):
        target = tmp_path / case
        target.mkdir()
        tensors = Checkpoint.open(folder("qwen2", "fp8-modelopt")).tensors()
        if value is None:
            del tensors[key]
        else:
            tensors[key] = value
        save_file(tensors, target / "model.safetensors")
        (target / "config.json").write_text((folder("qwen2", "fp8-modelopt") / "config.json").read_text())
        with pytest.raises(CheckpointError, match=named):
            load_model(target, device="cpu")
    config = json.loads((target / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (target / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedError, match="quantized as gptq"):
        load_model(target, device="cpu")


def test_requests_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text('{"prompt": "a"}\n\n{"messages": [{"role": "user", "content": "b"}]}\n{"prompt": "c"}\n')
    assert [r.messages[0]["content"] for r in read_requests(file, 9)] == ["a", "b", "c"]
    assert read_requests(file, 1) == [Request([{"role": "user", "content": "a"}])]
    for content, named in (("", "holds no line"), ('{"x": 1}', "line 1 must be"), ("nonsense", "line 1 must be")):
        file.write_text(content)
        with pytest.raises(InputError, match=named):
            read_requests(file, 9)
    with pytest.raises(InputError, match="no such file"):
        read_requests(tmp_path / "none.jsonl", 9)


def test_nothing_is_trained_on_quantized_weights(folder: Callable[..., Path], tmp_path: Path) -> None:
    recipe = Recipe.model_construct()
    with pytest.raises(CheckpointError, match="train on the checkpoint that they were made from"):
        _copy_base(folder("qwen2_5_vl", "fp8-modelopt"), tmp_path, recipe)
