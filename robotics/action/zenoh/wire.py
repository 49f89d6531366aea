"""Keys, tokens and attachments."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from edge.core.errors import InputError
from robotics.action.interfaces import dds_name, rihs01

Distribution = Literal["jazzy", "humble"]
"""jazzy: and all after it, whose keys have the hashes of types; humble: which has none."""
NO_HASH = "TypeHashNotSupported"
GID_BYTES = 16
_ATTACHMENT = struct.Struct("<qqB16s")

Kind = Literal["NN", "MP", "MS", "SS", "SC"]
"""What a token is of: node, publisher, subscription, service, client."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """sequence: of the writer, from 1; stamp_ns: of the source; gid: the writer's 16 bytes, which a reply repeats."""

    sequence: int
    stamp_ns: int
    gid: bytes

    def pack(self) -> bytes:
        return _ATTACHMENT.pack(self.sequence, self.stamp_ns, GID_BYTES, self.gid)

    @classmethod
    def unpack(cls, data: bytes) -> Attachment:
        """Raises InputError for bytes that are none."""
        if len(data) != _ATTACHMENT.size or data[16] != GID_BYTES:
            raise InputError(f"attachment: has {_ATTACHMENT.size} bytes, the 17th is {GID_BYTES}: got {len(data)}")
        sequence, stamp_ns, _, gid = _ATTACHMENT.unpack(data)
        return cls(sequence, stamp_ns, gid)


@dataclass(frozen=True, slots=True)
class Qos:
    """Reliable, the last `depth` kept; latched: transient local, else volatile."""

    depth: int = 10
    latched: bool = False

    def __str__(self) -> str:
        return f":{'1' if self.latched else ''}:,{self.depth}:,:,:,,"


def type_hash(kind: str, distribution: Distribution) -> str:
    return rihs01(kind) if distribution == "jazzy" else NO_HASH


def data_key(domain: int, name: str, kind: str, distribution: Distribution) -> str:
    """Where the messages of a topic, or the requests of a service, are. kind: `pkg/msg/X`, or the service as a whole."""
    return f"{domain}/{name.strip('/')}/{dds_name(kind)}/{type_hash(kind, distribution)}"


@dataclass(frozen=True, slots=True)
class Node:
    """session: Zenoh's id of ours; name: without namespace."""

    domain: int
    session: str
    name: str
    namespace: str = "/"

    def token(self) -> str:
        return f"{self._head(0, 'NN')}"

    def token_of(self, number: int, what: Kind, name: str, kind: str, distribution: Distribution, qos: Qos) -> str:
        """Of one of its publishers, subscriptions or services. number: its own, from 1."""
        return f"{self._head(number, what)}/{mangled(name)}/{dds_name(kind)}/{type_hash(kind, distribution)}/{qos}"

    def _head(self, number: int, what: Kind) -> str:
        return f"@ros2_lv/{self.domain}/{self.session}/0/{number}/{what}/%/{mangled(self.namespace)}/{self.name}"


def mangled(name: str) -> str:
    return name.replace("/", "%")
