"""Images in every accepted form, the tower, and the one line said about what is no image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from edge.core.errors import CheckpointError, InputError, UnsupportedError
from edge.models.images import read_image
from edge.models.loading import load_model
from tests.edge.models import tiny

ADAPTERS = ("lean", "transformers")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_tower_is_that_of_transformers(adapter: str, checkpoint: Callable[..., Any], backbone: Callable[..., Any]) -> None:
    model = checkpoint("qwen2_5_vl")[0]
    got = backbone("qwen2_5_vl", adapter).encode_images(tiny.pictures(3))
    inputs = Qwen2VLImageProcessorPil()(images=list(tiny.pictures(3)), return_tensors="pt")
    with torch.no_grad():
        wanted = model.get_image_features(**inputs).pooler_output
    assert got.counts == tuple(w.shape[0] for w in wanted)
    assert torch.equal(got.grids, inputs["image_grid_thw"])
    assert float(torch.cat(wanted).std()) > 0.1
    torch.testing.assert_close(got.features, torch.cat(wanted), atol=1e-4, rtol=1e-5)


def test_every_form_of_an_image(tmp_path: Path, backbone: Callable[..., Any]) -> None:
    picture = tiny.pictures(1)[0]
    picture.save(tmp_path / "a.png")
    forms = [picture, tmp_path / "a.png", str(tmp_path / "a.png"), np.asarray(picture), picture.convert("RGBA")]
    features = backbone("qwen2_5_vl").encode_images(forms)
    first, *others = features.features.split(features.counts)
    for other in others:
        torch.testing.assert_close(other, first)


def test_the_processor_of_the_folder_is_used(tmp_path: Path) -> None:
    path = tiny.save(tiny.build("qwen2_5_vl"), tmp_path)
    Qwen2VLImageProcessorPil(max_pixels=28 * 28 * 4).save_pretrained(path)
    big = Image.new("RGB", (302, 302))
    for adapter in ADAPTERS:
        assert load_model(path, device="cpu", adapter=adapter).encode_images([big]).counts == (4,)
    Qwen2VLImageProcessorPil(patch_size=16).save_pretrained(path)
    with pytest.raises(CheckpointError, match="the image processor has patch_size=16 and the vision tower 14"):
        load_model(path, device="cpu")
    (path / "preprocessor_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot read the image processor"):
        load_model(path, device="cpu")


def broken_files(folder: Path) -> dict[str, tuple[Any, str]]:
    """name -> (what is handed in, what is said)."""
    text, truncated, empty = folder / "a.txt", folder / "half.png", folder / "empty.png"
    text.write_text("not an image")
    empty.write_bytes(b"")
    tiny.pictures(1)[0].save(truncated)
    truncated.write_bytes(truncated.read_bytes()[:2000])
    nan = np.full((4, 4, 3), np.nan, dtype=np.float32)
    return {
        "absent": (folder / "no.png", r"image 0: .*no\.png: no such file"),
        "folder": (folder, "image 0: .*: cannot be read"),
        "text": (text, r"image 0: .*a\.txt: is no image that Pillow can read; give a PNG or JPEG"),
        "empty": (empty, r"empty\.png: is no image"),
        "truncated": (truncated, "image 0: cannot be decoded .*truncated"),
        "none": (None, r"must be a PIL image, a file path or a uint8 array \[height, width, 3\]: got NoneType"),
        "bytes": (b"\x89PNG", "got bytes"),
        "float": (np.zeros((4, 4, 3)), r"must be uint8 of shape \[height, width, 3\]: got float64 \[4, 4, 3\]; scale it to 0-255"),
        "nan": (nan, r"got float32 \[4, 4, 3\], with NaN in it"),
        "gray": (np.zeros((4, 4), np.uint8), r"got uint8 \[4, 4\]"),
        "planar": (np.zeros((3, 4, 4), np.uint8), r"got uint8 \[3, 4, 4\]"),
        "hollow": (np.zeros((0, 4, 3), np.uint8), r"got uint8 \[0, 4, 3\]"),
        "no-pixels": (Image.new("RGB", (0, 4)), "at least one pixel: got 0x4"),
    }


def test_what_is_no_image(tmp_path: Path) -> None:
    for source, why in broken_files(tmp_path).values():
        with pytest.raises(InputError, match=why) as e:
            read_image(source)
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_refusals_name_the_image(adapter: str, backbone: Callable[..., Any]) -> None:
    model = backbone("qwen2_5_vl", adapter)
    with pytest.raises(InputError, match=r"image 1: .*got NoneType"):
        model.encode_images([tiny.pictures(1)[0], None])
    with pytest.raises(InputError, match=r"the images \(4000x10\) are refused.*aspect ratio"):
        model.encode_images([Image.new("RGB", (4000, 10))])
    with pytest.raises(UnsupportedError, match="no vision tower and images were given"):
        backbone("qwen2", adapter).encode_images([tiny.pictures(1)[0]])
