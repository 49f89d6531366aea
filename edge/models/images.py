"""Pictures from whatever a caller has, and what tells one from another."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from edge.core.errors import InputError


def read_image(source: Any, number: int = 0) -> Image.Image:
    """An RGB image from a PIL image, a file path or a uint8 array [H, W, 3].

    Raises InputError, naming image `number` and what is wrong, for anything else.
    """
    what = f"image {number}"
    if isinstance(source, Image.Image):
        image = source
    elif isinstance(source, str | Path):
        image = _open(Path(source), what)
    elif isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
            raise InputError(
                f"{what}: an array must be uint8 of shape [height, width, 3]: got {source.dtype} {list(source.shape)}"
                + (", with NaN in it" if np.issubdtype(source.dtype, np.floating) and bool(np.isnan(source).any()) else "")
                + "; scale it to 0-255 and convert it with .astype(numpy.uint8)"
            )
        image = Image.fromarray(source)
    else:
        raise InputError(
            f"{what}: must be a PIL image, a file path or a uint8 array [height, width, 3]: got {type(source).__name__}"
        )
    if 0 in image.size:
        raise InputError(f"{what}: must have at least one pixel: got {image.width}x{image.height}")
    try:
        return image.convert("RGB")
    except Exception as e:  # PIL reads lazily, so a broken file shows here, and it can make a decoder raise nearly anything
        why = str(e) or type(e).__name__
        raise InputError(f"{what}: cannot be decoded ({why}); the file is truncated or broken, write it again") from None


def _open(path: Path, what: str) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise InputError(f"{what}: {path}: no such file") from None
    except UnidentifiedImageError:
        raise InputError(f"{what}: {path}: is no image that Pillow can read; give a PNG or JPEG file") from None
    except (OSError, ValueError) as e:
        raise InputError(f"{what}: {path}: cannot be read ({e})") from None


def fingerprint(image: Image.Image) -> bytes:
    """The same 16 bytes for the same pixels, others for others: BLAKE2b of size, mode and pixels."""
    head = f"{image.mode} {image.width}x{image.height}:".encode()
    return hashlib.blake2b(head + image.tobytes(), digest_size=16).digest()
