"""What this server shares with other machines, and what it gets from them: the answer of ``GET /v1/sharing``.

It has four parts: what the shared endpoints sent, what the runs of this server received, the peers, and the
swarm. Each comes from a provider behind a small protocol, so that nothing of it has to exist. Peers are those
that the settings name, those that were found in the network, and those that gave bytes.

Names of machines come from outside and are sanitized here. Only clients with the token get the answer: it
names the machines that read from this server.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from modelfetch.engine.record import timestamp
from modelfetch.model.source_kinds import SourceKind
from modelfetch.model.text import sanitize
from modelfetch.server.received_bytes import Rate, ReceivedBytes
from modelfetch.store.instance import instance_of

if TYPE_CHECKING:
    from modelfetch.engine.rate_limit import Clock
    from modelfetch.history import AttemptRow, Health
    from modelfetch.server.status import Host
    from modelfetch.workspace import Workspace

ATTEMPT_SECONDS: Final = 15.0
"""Seconds after which the attempts are read again. They may be thousands, and the panel asks every three
seconds."""
LEAST_SECONDS: Final = 2.0
"""The same while bytes are received."""
MAX_CLIENTS: Final = 20
"""Clients in the answer at most, those with the most bytes."""
MAX_PEERS: Final = 64
"""Peers in the answer at most."""
MAX_NAME: Final = 100
"""Characters of a name of a machine at most. A name of DNS has up to 253, but such a long one was made up."""


class Uploads(Protocol):
    """What the shared endpoints sent; see :class:`modelfetch.server.share_counters.ShareCounters`."""

    def snapshot(self) -> Mapping[str, Any]:
        """Return all counts."""


class SwarmFigures(NamedTuple):
    """The figures of the swarm, since the server started."""

    torrents: int
    peers: int
    uploaded: int
    downloaded: int
    upload_rate: int
    download_rate: int


class SwarmStatus(Protocol):
    """The swarm of a server."""

    def figures(self) -> SwarmFigures:
        """Return its figures."""


class Attempts(NamedTuple):
    """What is known of sources from the attempts at them on this machine."""

    health: Mapping[Host, Health]
    failures: Mapping[Host, AttemptRow]
    """The last failure of each."""


ReadAttempts = Callable[[], Attempts]


class Nearby(NamedTuple):
    """The result of a search for peers in the network."""

    hosts: tuple[str, ...] = ()
    is_searched: bool = True
    """Whether the settings want that."""
    notice: str = ""
    """Why it is not possible, or empty."""


def nearby_peers(workspace: Workspace) -> Nearby:
    """Search the network for peers, if the settings want that; at most once a minute, for half a second."""
    if not workspace.loaded.settings.lan.enabled:
        return Nearby(is_searched=False)
    from modelfetch.sources.peer_search import found_peers  # only a server that searches pays for it

    notices: list[str] = []
    found = found_peers(notices.append)
    own = instance_of(workspace.store.root)
    hosts = tuple(peer.host for peer in found if peer.instance != own)
    return Nearby(hosts, notice="; ".join(notices))


class SharingStatus:
    """The state of sharing of one server. Thread-safe.

    Args:
        received: What its runs received.
        uploads: What it sent; None without ``--share``.
        swarm: Its swarm, if it has one.
        now: Returns the time of day.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        received: ReceivedBytes,
        uploads: Uploads | None = None,
        swarm: SwarmStatus | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Clock = time.monotonic,
    ) -> None:
        self._received = received
        self._uploads = uploads
        self._swarm = swarm
        self._now = now
        self._clock = clock
        self._upload_rate = Rate(clock)
        self._download_rate = Rate(clock)
        self._lock = threading.Lock()
        self._seen: dict[str, datetime] = {}
        """When each peer was found last, the latest at the end."""
        self._attempts = Attempts({}, {})
        self._read_at = -math.inf
        self._read_with = 0
        """Bytes received by then."""

    def document(self, named: Collection[str], nearby: Nearby, attempts: ReadAttempts) -> dict[str, Any]:
        """Describe it.

        Args:
            named: Hosts of the peers in the settings.
            nearby: The peers that were found.
            attempts: Reads what is known of sources; not called if there is no peer.
        """
        counts = self._received.counts()
        upload = self._upload()
        swarm = self._swarm.figures() if self._swarm is not None else None
        sent = upload["bytes"] + (swarm.uploaded if swarm is not None else 0)
        received, seen = _of_kind(counts, SourceKind.PEER), self._note_seen(nearby.hosts)
        known = self._read(attempts, counts.total()) if named or seen or received else Attempts({}, {})
        peers = _Peers(received, known, nearby.hosts, seen)
        return {
            "sharing": self._uploads is not None,
            "finds_peers": nearby.is_searched,
            "notice": nearby.notice,
            "upload": upload,
            "download": {
                "bytes": counts.total(),
                "rate": self._download_rate.of(counts.total()),
                "sources": [_supplier(label, count) for label, count in counts.most_common(MAX_PEERS)],
            },
            "ratio": _ratio(sent, counts.total()),
            "peers": peers.describe(named),
            "swarm": None if swarm is None else _swarm(swarm),
        }

    def _read(self, attempts: ReadAttempts, count: int) -> Attempts:
        """Return what is known of sources: read when bytes were received, else now and then."""
        with self._lock:
            is_new, age = count != self._read_with, self._clock() - self._read_at
            if age >= ATTEMPT_SECONDS or (is_new and age >= LEAST_SECONDS):
                self._attempts, self._read_at, self._read_with = attempts(), self._clock(), count
            return self._attempts

    def _note_seen(self, hosts: Iterable[str]) -> dict[str, datetime]:
        """Note that these peers were found, and return when each was; the oldest ones are forgotten."""
        with self._lock:
            for host in hosts:
                self._seen.pop(host, None)
                self._seen[host] = self._now()
            while len(self._seen) > MAX_PEERS:
                del self._seen[next(iter(self._seen))]
            return dict(self._seen)

    def _upload(self) -> dict[str, Any]:
        counts = self._uploads.snapshot() if self._uploads is not None else _NOTHING
        return {
            "bytes": counts["bytes"],
            "rate": self._upload_rate.of(counts["bytes"]),
            "requests": counts["requests"],
            "active": counts["active"],
            "refused": counts["refused"],
            "endpoints": [{"endpoint": name, **each} for name, each in counts["endpoints"].items()],
            "clients": [
                {**client, "client": plain_name(client["client"])}
                for client in counts["clients"][:MAX_CLIENTS]
            ],
        }


_NOTHING: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("bytes", "requests", "active", "refused"), 0),
    "endpoints": {},
    "clients": [],
}
"""Counts of a server that shares nothing."""


class _Peers:
    """Describes peers from what is known of them."""

    def __init__(
        self,
        received: Mapping[str, int],
        attempts: Attempts,
        found: Collection[str],
        seen: Mapping[str, datetime],
    ) -> None:
        self._received = received
        self._attempts = attempts
        self._found = found
        self._seen = seen

    def describe(self, named: Iterable[str]) -> list[dict[str, Any]]:
        """Describe every peer: those that gave most first, then those of the settings."""
        of_settings = dict.fromkeys(named)
        hosts = dict.fromkeys([*of_settings, *self._found, *self._seen, *self._received])
        ranked = sorted(hosts, key=lambda host: -self._received.get(host, 0))
        return [self._describe(host, is_named=host in of_settings) for host in ranked[:MAX_PEERS]]

    def _describe(self, host: str, *, is_named: bool) -> dict[str, Any]:
        last = self._last_answer(host)
        return {
            "host": plain_name(host),
            "origin": "settings" if is_named else "network" if host in self._seen else "history",
            "state": self._state(host),
            "last_seen": None if last is None else timestamp(last),
            "received": self._received.get(host, 0),
        }

    def _state(self, host: str) -> str:
        """Whether it answers, as far as is known: by the last search or the last attempt."""
        if host in self._found:
            return "reachable"
        health, failure = self._known(host)
        if health is None:
            return "unknown"
        return "unreachable" if failure is not None and failure.started_at >= health.last else "reachable"

    def _last_answer(self, host: str) -> datetime | None:
        """When it was found, or an attempt succeeded."""
        health, failure = self._known(host)
        times = [self._seen.get(host)]
        if health is not None and (failure is None or failure.started_at < health.last):
            times.append(health.last)
        return max((at for at in times if at is not None), default=None)

    def _known(self, host: str) -> tuple[Health | None, AttemptRow | None]:
        key = SourceKind.PEER.value, host
        return self._attempts.health.get(key), self._attempts.failures.get(key)


def plain_name(text: str) -> str:
    """Make the name of a machine safe to show: sanitized, on one line, and not too long."""
    return sanitize(text[: MAX_NAME + 1])[:MAX_NAME]


def _of_kind(counts: Mapping[str, int], kind: str) -> dict[str, int]:
    named = ((*label.partition(" ")[::2], count) for label, count in counts.items())
    return {host: count for source, host, count in named if source == kind}


def _supplier(label: str, count: int) -> dict[str, Any]:
    kind, _, host = label.partition(" ")
    return {"source": kind, "host": plain_name(host), "received": count}


def _ratio(sent: int, received: int) -> float | None:
    """Bytes sent for each byte received; None if nothing was received."""
    return round(sent / received, 3) if received else None


def _swarm(figures: SwarmFigures) -> dict[str, Any]:
    return {**figures._asdict(), "ratio": _ratio(figures.uploaded, figures.downloaded)}
