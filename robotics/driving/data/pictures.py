"""Camera pictures as they lie in a data set: bytes or files, decoded and resized when they are looked at."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from edge.core.errors import InputError
from robotics.driving.scene import CAMERAS, U8

Pixels = bytes | U8
Picture = Pixels | Path | Callable[[], Pixels]
"""An encoded picture or pixels [H, W, 3], a file with one, or what fetches it (and raises InputError where it cannot)."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Implements `robotics.driving.scene.Cameras`. where: the moment's name, for messages; of: one per camera, as in CAMERAS."""

    where: str
    of: tuple[Picture, Picture, Picture]

    def images(self, size: tuple[int, int]) -> U8:
        """uint8 [3, H, W, 3]. Raises InputError naming the camera of a picture that is missing or broken."""
        return np.stack([decode(p, size, f"{self.where}: {c}") for c, p in zip(CAMERAS, self.of, strict=True)])


def decode(picture: Picture, size: tuple[int, int] | None, where: str) -> U8:
    """One picture as uint8 [H, W, 3], RGB; `size` (H, W) as it is if None. Raises InputError that names `where`."""
    try:
        image = _opened(picture)
        if size is not None:
            image.draft("RGB", (size[1] * 2, size[0] * 2))  # a JPEG is decoded at a fraction of its size
        image = image.convert("RGB")
    except FileNotFoundError:
        raise InputError(f"camera picture is missing: {where}: {picture}") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError) as e:
        raise InputError(f"camera picture is broken: {where}: {' '.join(str(e).split())}") from None
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(image, dtype=np.uint8)


def _opened(picture: Picture) -> Image.Image:
    if callable(picture):
        picture = picture()
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    if isinstance(picture, Path):
        return Image.open(io.BytesIO(picture.read_bytes()))
    if not picture:
        raise OSError("it holds no bytes")
    return Image.open(io.BytesIO(picture))


def ordered(by_camera: dict[str, Picture], where: str, names: Sequence[str] = CAMERAS) -> Pictures:
    """The three front cameras out of a data set's. Raises InputError naming those that are not there."""
    missing = [n for n in names if n not in by_camera]
    if missing:
        raise InputError(f"camera is missing: {where}: {', '.join(missing)}")
    left, front, right = (by_camera[n] for n in names)
    return Pictures(where, (left, front, right))
