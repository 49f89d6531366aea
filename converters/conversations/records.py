"""One record of a data set to turns and pictures.

    LLaVA      {"id", "image": PATH | [PATH, ...], "conversations": [{"from": "human" | "gpt", "value": TEXT}, ...]}
    ShareGPT   the same with "images" and "system"; or {"messages": [{"role", "content": TEXT | PARTS}, ...], "images": [...]}

`<image>` in a text stands where a picture goes. Parts are those of OpenAI's chat form: text, image, image_url.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from converters.conversations.account import Dropped

PLACE = "<image>"
SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bard": "assistant",
    "system": "system",
}


@dataclass(frozen=True)
class Conversation:
    """number: of the record in its file, from 1; messages: in chat form, every content a list of text and image parts; images: what
    each image part names, in order.
    """

    number: int
    messages: tuple[dict[str, Any], ...]
    images: tuple[str, ...]


def read(record: Any, number: int) -> Conversation:
    """Raises Dropped with the reason."""
    if not isinstance(record, Mapping):
        raise Dropped("unreadable", f"a {type(record).__name__}")
    turns = record.get("conversations", record.get("messages"))
    if not isinstance(turns, list) or not turns:
        have = ", ".join(sorted(map(str, record))[:6]) or "nothing"
        raise Dropped("form", f"no list under conversations or messages; it has {have}")
    messages, inline = [], []
    if system := record.get("system"):
        messages.append(_message("system", system, inline, "system"))
    for n, turn in enumerate(turns, start=1):
        if not isinstance(turn, Mapping):
            raise Dropped("form", f"turn {n} is a {type(turn).__name__}")
        speaker = turn.get("from", turn.get("role"))
        if not isinstance(speaker, str) or speaker not in SPEAKERS:
            raise Dropped("role", f"turn {n}: {str(speaker)[:40]!r}")
        messages.append(_message(SPEAKERS[speaker], turn.get("value", turn.get("content")), inline, f"turn {n}"))
    if messages[-1]["role"] != "assistant":
        raise Dropped("no answer", f"the last turn is the {messages[-1]['role']}'s")
    if all(m["role"] == "assistant" for m in messages[:1]):
        raise Dropped("form", "it begins with an answer")
    listed = _listed(record)
    places = sum(part["type"] == "image" for m in messages for part in m["content"])
    images = [*inline, *listed]
    if inline and listed:
        raise Dropped("misplaced pictures", "pictures both in the turns and beside them")
    if places != len(images):
        raise Dropped("misplaced pictures", f"{places} places and {len(images)} pictures")
    return Conversation(number, tuple(messages), tuple(images))


def _listed(record: Mapping[str, Any]) -> list[str]:
    found = record.get("images", record.get("image"))
    found = [] if found is None else [found] if isinstance(found, str) else found
    if not isinstance(found, list) or not all(isinstance(f, str) for f in found):
        _odd("image or images is neither a path nor a list of paths")
    return found


def _message(role: str, content: Any, inline: list[str], where: str) -> dict[str, Any]:
    """Names of pictures in its parts are added to `inline`."""
    parts: list[dict[str, str]] = []
    if isinstance(content, str):
        parts = _cut(content)
    elif isinstance(content, list):
        for part in content:
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind == "text" and isinstance(part.get("text"), str):
                parts.append({"type": "text", "text": part["text"]})
            elif kind in ("image", "image_url"):
                parts.append({"type": "image"})
                name = part.get(kind)
                name = name.get("url") if isinstance(name, Mapping) else name
                if name is not None and not isinstance(name, str):
                    _odd(f"{where}: a picture's name is a {type(name).__name__}")
                inline += [name] if name else []
            else:
                _odd(f"{where}: a part is of type {kind!r}")
    else:
        _odd(f"{where}: its words are a {type(content).__name__}")
    if role == "assistant" and any(part["type"] == "image" for part in parts):
        raise Dropped("misplaced pictures", f"{where}: a picture in an answer")
    words = "".join(part.get("text", "") for part in parts)
    if not words.strip() and (role == "assistant" or not parts or all(p["type"] == "text" for p in parts)):
        raise Dropped("empty turn", where)
    return {"role": role, "content": parts}


def _cut(text: str) -> list[dict[str, str]]:
    """At every place of a picture; a line break beside it goes with it, as LLaVA writes one there for no reader."""
    pieces = text.split(PLACE)
    if len(pieces) == 1:
        return [{"type": "text", "text": text}]
    out: list[dict[str, str]] = []
    for n, piece in enumerate(pieces):
        if n:
            out.append({"type": "image"})
            piece = piece.removeprefix("\n")
        if n < len(pieces) - 1:
            piece = piece.removesuffix("\n")
        out += [{"type": "text", "text": piece}] if piece else []
    return out


def _odd(what: str) -> NoReturn:
    raise Dropped("form", what)
