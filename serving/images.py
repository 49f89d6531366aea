"""Images of requests: data URIs, and files and addresses where they are allowed. Nothing is decoded here, and nothing anywhere
before its size is known: the engine decodes what it is given, a file or one of these.
"""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from pathlib import Path
from urllib.parse import unquote, urlsplit

from PIL import Image, UnidentifiedImageError

from serving.settings import ServerSettings
from serving.wire.errors import Refusal

# Our own limit comes after it. For the process, not round each opening: setting filters back and forth is not safe among threads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
FETCH_TIMEOUT_S = 10.0


def read(url: str, settings: ServerSettings, number: int) -> Image.Image:
    """The image behind a `data:`, `file:` or `https:` URL, not yet decoded. Raises Refusal with one line on anything else.

    Blocks while it fetches; not to be called on an event loop.
    """
    what = f"image {number}"
    limit = int(settings.max_image_mb * 2**20)
    scheme = url[:8].split(":", 1)[0].lower()
    if scheme == "data":
        data = _inline(url, limit, what)
    elif scheme == "file" and settings.image_dir is not None:
        data = _file(url, settings.image_dir, limit, what)
    elif scheme in ("http", "https") and settings.image_hosts:
        data = _fetched(url, settings.image_hosts, limit, what)
    else:
        raise Refusal(
            f"{what}: send it as data URI (data:image/png;base64,...); this server reads no other images than those its settings "
            f"image_dir and image_hosts allow"
        )
    return _opened(data, settings.max_image_megapixels, what)


def _inline(url: str, limit: int, what: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise Refusal(f"{what}: a data URI must read data:image/...;base64,...")
    if len(body) * 3 // 4 > limit + 3:
        raise _too_large(what, limit)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(f"{what}: its base64 is broken or cut off") from None


def _file(url: str, folder: Path, limit: int, what: str) -> bytes:
    parts = urlsplit(url)
    try:
        path = Path(unquote(parts.path)).resolve()
        if parts.netloc or not path.is_relative_to(folder.resolve()) or not path.is_file():
            raise Refusal(f"{what}: no such file in the folder that this server reads images from")
        if path.stat().st_size > limit:
            raise _too_large(what, limit)
        return path.read_bytes()
    except (OSError, ValueError):
        raise Refusal(f"{what}: no such file in the folder that this server reads images from") from None


def _fetched(url: str, hosts: tuple[str, ...], limit: int, what: str) -> bytes:
    import httpx

    try:
        if (urlsplit(url).hostname or "") not in hosts:
            raise Refusal(f"{what}: images are fetched from {', '.join(hosts)} alone")
        data = bytearray()
        # A redirect could lead to any host, so none is followed.
        with httpx.stream("GET", url, timeout=FETCH_TIMEOUT_S, follow_redirects=False) as response:
            if response.status_code != 200:
                raise Refusal(f"{what}: its host answered with status {response.status_code}")
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > limit:
                    raise _too_large(what, limit)
        return bytes(data)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as e:
        raise Refusal(f"{what}: cannot be fetched ({type(e).__name__})") from None


def _opened(data: bytes, megapixels: float, what: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise Refusal(f"{what}: has more than the {megapixels:g} million pixels of this server") from None
    except UnidentifiedImageError:
        raise Refusal(f"{what}: is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from None
    except Exception as e:  # a broken file can make a decoder raise nearly anything
        raise Refusal(f"{what}: cannot be decoded ({type(e).__name__}); the file is cut off or broken") from None
    if image.width * image.height > megapixels * 1e6:
        raise Refusal(f"{what}: has {image.width} x {image.height} pixels, more than the {megapixels:g} million of this server")
    return image


def _too_large(what: str, limit: int) -> Refusal:
    return Refusal(f"{what}: is larger than the {limit / 2**20:g} MiB of this server", status=413)
