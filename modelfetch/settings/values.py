"""The settings as values: one frozen dataclass per section, plus the secrets that must not be shown.

Why each default is what it is stands in :mod:`modelfetch.settings.table`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, cast

from modelfetch.lazy_dataclass import dataclass
from modelfetch.settings.redaction import redact
from modelfetch.settings.types import NONE, Value


@dataclass(frozen=True, slots=True)
class Sources:
    """Where bytes may come from."""

    order: tuple[str, ...]
    """Kinds of sources that may be used, in the order they are asked."""
    mirrors: tuple[str, ...] = field(repr=False)
    """URL templates; they may hold credentials, so they are left out of ``repr``."""


@dataclass(frozen=True, slots=True)
class Ipfs:
    """Access to IPFS."""

    gateways: tuple[str, ...]
    """Base addresses without a trailing slash or ``/ipfs``; empty turns IPFS off."""


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """Access to Hugging Face."""

    endpoint: str
    """Base address without a trailing slash; the only origin that may be sent the token."""


@dataclass(frozen=True, slots=True)
class Network:
    """Limits of transfers."""

    files: int
    """Files fetched at the same time, 1 or more."""
    connections: int
    """Connections to one file at the same time, 1 or more."""
    connect_timeout: float
    """Seconds until a connection must stand, for each address of a host."""
    stall_timeout: float
    """Seconds without a byte after which a transfer counts as stalled."""
    min_speed: int
    """Bytes per second below which a transfer is given up; 0 for never."""
    limit_rate: int | None
    """Bytes per second over all connections together; None is without limit."""


@dataclass(frozen=True, slots=True)
class Retry:
    """When a source is asked again."""

    attempts: int
    """Tries of one source for one file, 1 or more."""
    base: float
    """Seconds the first wait lies below; each further limit is twice the one before."""
    cap: float
    """Seconds no wait of our own choice exceeds."""
    retry_after_cap: float
    """Seconds of a server's Retry-After that are waited for at most."""


@dataclass(frozen=True, slots=True)
class Cache:
    """How the cache is written and when it is cleaned."""

    fsync: bool
    """Whether files are forced to disk before they get their final name."""
    partial_days: int
    """Days an interrupted download is kept."""
    quarantine_days: int
    """Days bytes that failed verification are kept."""
    version_days: int
    """Days a version is kept after a newer one was made present."""
    warn_size: int
    """Bytes of cache above which a warning is given; 0 for never."""
    max_age_days: int
    """Days after which a check for a newer version is due."""
    stale_days: int
    """Days past that age during which a failed check is not reported."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is remembered of runs."""

    days: int
    """Days it is; 0 for nothing."""


@dataclass(frozen=True, slots=True)
class Lan:
    """Peers on the local network."""

    enabled: bool
    """Whether they are looked for."""


@dataclass(frozen=True, slots=True)
class Serve:
    """The server."""

    jobs: int
    """Jobs that run at the same time, 1 or more."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, one field per TOML table."""

    sources: Sources
    ipfs: Ipfs
    huggingface: HuggingFace
    network: Network
    retry: Retry
    cache: Cache
    history: Remembered
    lan: Lan
    serve: Serve

    def value(self, name: str) -> Value:
        """The value of the setting called ``section.key``."""
        section, _, key = name.partition(".")
        return cast("Value", getattr(getattr(self, section), key))


class Secret:
    """Text that must never be shown: ``repr``, ``str``, format and ``dataclasses.asdict`` leave it out."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"


_SECTIONS: dict[str, type[Any]] = {
    "sources": Sources,
    "ipfs": Ipfs,
    "huggingface": HuggingFace,
    "network": Network,
    "retry": Retry,
    "cache": Cache,
    "history": Remembered,
    "lan": Lan,
    "serve": Serve,
}


def build(values: Mapping[str, Value]) -> Settings:
    """Put checked values, by ``section.key``, into their dataclasses."""
    return Settings(**{section: _section(section, kind, values) for section, kind in _SECTIONS.items()})


def _section(section: str, kind: type[Any], values: Mapping[str, Value]) -> Any:
    return kind(**{field.name: values[f"{section}.{field.name}"] for field in fields(kind)})


def shown(value: Value) -> str:
    """Show a value to a person: as ``config set`` would read it, addresses without their secrets."""
    match value:
        case None | ():
            return NONE
        case bool():
            return "true" if value else "false"
        case str():
            return redact(value) if "://" in value else value
        case tuple():
            return ",".join(map(shown, value))
        case _:
            return f"{value:g}" if isinstance(value, float) else f"{value}"
