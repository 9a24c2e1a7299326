"""The settings as values: one frozen dataclass per section, and secrets that must not be shown.

The dataclasses exist for type checking: a field has the section's key as its name and the type that the
setting's form returns, and a test compares them with the table. What each field means, its unit and its
default are described in :mod:`modelfetch.settings.table` only. None, where a type allows it, means no limit.

For example, ``settings.network.connect_timeout`` is the value of ``network.connect_timeout`` in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast, get_type_hints

from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.settings.redaction import redact
from modelfetch.settings.types import NONE, Value


@dataclass(frozen=True, slots=True)
class Sources:
    """Section ``sources``."""

    order: tuple[str, ...]
    mirrors: tuple[str, ...] = field(repr=False)  # they may hold credentials
    peers: tuple[str, ...] = field(repr=False)  # likewise
    local: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ipfs:
    """Section ``ipfs``."""

    gateways: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """Section ``huggingface``."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class ModelScope:
    """Section ``modelscope``."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Network:
    """Section ``network``."""

    files: int
    connections: int
    connect_timeout: float
    stall_timeout: float
    min_speed: int
    limit_rate: int | None


@dataclass(frozen=True, slots=True)
class Retry:
    """Section ``retry``."""

    attempts: int
    base: float
    cap: float
    retry_after_cap: float


ChunkMapMode = Literal["auto", "always", "never"]
"""When chunk maps are made: if hashing the chunks takes no time, always, or never."""


@dataclass(frozen=True, slots=True)
class Cache:
    """Section ``cache``."""

    fsync: bool
    partial_days: int
    quarantine_days: int
    version_days: int
    warn_size: int
    max_age_days: int
    stale_days: int
    chunk_maps: ChunkMapMode


@dataclass(frozen=True, slots=True)
class HistorySection:
    """Section ``history``."""

    days: int


@dataclass(frozen=True, slots=True)
class Lan:
    """Section ``lan``."""

    enabled: bool


@dataclass(frozen=True, slots=True)
class Swarm:
    """Section ``swarm``."""

    enabled: bool
    port: int
    trackers: tuple[str, ...] = field(repr=False)  # private trackers have a key in their address
    peers: tuple[str, ...]
    upload_rate: int | None
    readers: int


@dataclass(frozen=True, slots=True)
class Serve:
    """Section ``serve``."""

    jobs: int
    share_clients: int
    share_rate: int | None


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, one field per section."""

    sources: Sources
    ipfs: Ipfs
    huggingface: HuggingFace
    modelscope: ModelScope
    network: Network
    retry: Retry
    cache: Cache
    history: HistorySection
    lan: Lan
    swarm: Swarm
    serve: Serve

    def value(self, name: str) -> Value:
        """Return the value of the setting ``section.key``."""
        section, _, key = name.partition(".")
        return cast("Value", getattr(getattr(self, section), key))


class Secret:
    """Text that must never be shown: ``repr``, ``str``, ``format`` and ``dataclasses.asdict`` omit it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for the code that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"


def build(values: Mapping[str, Value]) -> Settings:
    """Create the dataclasses from validated values by ``section.key``."""
    sections = get_type_hints(Settings).items()
    return Settings(**{section: _section(section, kind, values) for section, kind in sections})


def _section(section: str, kind: type[Any], values: Mapping[str, Value]) -> Any:
    return kind(**{name: values[f"{section}.{name}"] for name in kind.__match_args__})


def shown(value: Value) -> str:
    """Format a value as ``config set`` reads it, with the secrets of addresses masked."""
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
