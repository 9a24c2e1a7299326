"""The documents about sharing of the HTTP API as types; see :mod:`modelfetch.server.api_documents`.

The meaning of each field is in ``docs/reference/http-api.md``. The answer itself is written by
:mod:`modelfetch.server.sharing_status`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from modelfetch.lazy_dataclass import dataclass
from modelfetch.server.api_job_documents import Supplier


@dataclass(frozen=True, slots=True)
class SharedEndpoint:
    """What one shared endpoint sent."""

    endpoint: str
    requests: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ShareClient:
    """What one client was sent."""

    client: str
    requests: int
    bytes: int
    active: int
    idle: float


@dataclass(frozen=True, slots=True)
class Upload:
    """What the shared endpoints sent."""

    bytes: int
    rate: int | None
    requests: int
    active: int
    refused: int
    endpoints: tuple[SharedEndpoint, ...]
    clients: tuple[ShareClient, ...]


@dataclass(frozen=True, slots=True)
class Download:
    """What the runs of the server received."""

    bytes: int
    rate: int | None
    sources: tuple[Supplier, ...]


@dataclass(frozen=True, slots=True)
class SharingPeer:
    """A machine of the local network that shares its cache."""

    host: str
    origin: Literal["settings", "network", "history"]
    state: Literal["reachable", "unreachable", "unknown"]
    last_seen: datetime | None
    received: int


@dataclass(frozen=True, slots=True)
class Swarm:
    """The swarm of the server."""

    torrents: int
    peers: int
    uploaded: int
    downloaded: int
    upload_rate: int
    download_rate: int
    ratio: float | None


@dataclass(frozen=True, slots=True)
class SharingState:
    """What the server shares with other machines, and what it gets from them."""

    sharing: bool
    finds_peers: bool
    notice: str
    upload: Upload
    download: Download
    ratio: float | None
    peers: tuple[SharingPeer, ...]
    swarm: Swarm | None
