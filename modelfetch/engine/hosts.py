"""What a run has learned about hosts, shared by all its files, so that a sick host is found out once."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.engine.rate_limit import Clock

DOWN_SECONDS = 30.0
"""How long a host that could not be reached is not tried again for other files."""

CONNECTIONS = 8
"""Connections to one host at most, for the parts of large files; hosts begin to refuse a little above it."""

_UNREACHABLE = frozenset({Fault.CONNECT, Fault.TLS, Fault.PROXY})
# Faults of one file only: they say nothing about the next one.
_OF_ONE_FILE = frozenset({Fault.NOT_FOUND, Fault.AUTHORISATION, Fault.MISSING})


@dataclass(slots=True)
class _Host:
    ready_at: float = 0.0
    failed: frozenset[str] = frozenset()
    """Up to two files it failed for: enough to know whether it failed for another one."""
    down_until: float = 0.0
    down: SourceError | None = None
    sends_ranges: bool = True
    is_fast: bool = False
    connections: int = 0
    most: int = CONNECTIONS


class Hosts:
    """The state of every host of a run, and the only owner of its changes. Thread-safe.

    One lock protects the table, every record in it and the expected size; each method takes it once, and
    no other lock while it holds it. What the methods return are copies or values that never change.

    Args:
        clock: Monotonic seconds.
        connections: Connections to one host for the parts of large files, at most.
    """

    def __init__(self, clock: Clock = time.monotonic, connections: int = CONNECTIONS) -> None:
        self._clock = clock
        self._most = connections
        self._expected = 0
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}

    def expect(self, size: int) -> None:
        """Learn how many bytes the run is to fetch in all."""
        with self._lock:
            self._expected = size

    def share(self, size: int) -> int:
        """How many connections to one host are due to a file, by its part of all that is to be fetched."""
        with self._lock:
            return max(1, round(self._most * size / max(1, size, self._expected)))

    def _host(self, name: str) -> _Host:
        """Return the record of a host, made on first use. The caller holds the lock."""
        return self._hosts.setdefault(name, _Host(most=self._most))

    def park(self, name: str, seconds: float) -> None:
        """Leave a host alone: it asked one of us to come back later, and that holds for all."""
        with self._lock:
            host = self._host(name)
            host.ready_at = max(host.ready_at, self._clock() + seconds)

    def ready_at(self, name: str) -> float:
        """When the host may be asked again, in clock seconds; the past when it never asked us to wait."""
        with self._lock:
            return self._host(name).ready_at

    def give_up(self, name: str, error: SourceError, file: str = "") -> None:
        """Remember that a file left this host.

        Args:
            name: The host.
            error: Why.
            file: Digest of the file. It may be at another place of the same host as well, which is not to be
                doubted for that.
        """
        if error.fault in _OF_ONE_FILE:
            return
        with self._lock:
            host = self._host(name)
            if len(host.failed) < 2:
                host.failed |= {file}
            if error.fault in _UNREACHABLE and not error.elsewhere:
                host.down, host.down_until = error, self._clock() + DOWN_SECONDS

    def welcome(self, name: str) -> None:
        """Forget all ill: the host just delivered. How long it asked us to wait still holds."""
        with self._lock:
            host = self._host(name)
            host.failed, host.down = frozenset(), None

    def is_demoted(self, name: str, file: str = "-") -> bool:
        """Whether the host failed for another file than this one: it is asked last then, and once."""
        with self._lock:
            return bool(self._host(name).failed - {file})

    def is_well(self, name: str) -> bool:
        """Whether the host may be asked right now, and nothing speaks against it."""
        with self._lock:
            host = self._hosts.get(name)
            return host is None or (not host.failed and self._clock() >= max(host.ready_at, host.down_until))

    def down(self, name: str) -> SourceError | None:
        """Why the host cannot be reached, if that was found out a moment ago."""
        with self._lock:
            host = self._host(name)
            return host.down if self._clock() < host.down_until else None

    def enter(self, name: str, *, is_first: bool = False) -> bool:
        """Count a connection, to be given back with :meth:`leave`, unless the host has enough of them.

        Args:
            name: The host.
            is_first: Whether the file has no other connection; such a one is always allowed.
        """
        with self._lock:
            host = self._host(name)
            is_allowed = is_first or host.connections < host.most
            host.connections += is_allowed
            return is_allowed

    def leave(self, name: str) -> None:
        """Give a connection back."""
        with self._lock:
            self._host(name).connections -= 1

    def spare(self, name: str) -> None:
        """Open fewer connections from now on than there are: the host refused one, or asked for fewer."""
        with self._lock:
            host = self._host(name)
            host.most = max(1, min(host.most, host.connections) - 1)

    def note_whole_only(self, name: str) -> None:
        """Remember that the host sends whole files whatever it is asked for."""
        with self._lock:
            self._host(name).sends_ranges = False

    def sends_ranges(self, name: str) -> bool:
        """Whether the host sends parts of files, as far as is known."""
        with self._lock:
            return self._host(name).sends_ranges

    def note_speed(self, name: str, *, is_fast: bool | None) -> None:
        """Remember whether one connection to the host was fast enough alone; None where nobody knows yet."""
        if is_fast is not None:
            with self._lock:
                self._host(name).is_fast = is_fast

    def is_fast(self, name: str) -> bool:
        """Whether one connection to the host is known to be enough."""
        with self._lock:
            return self._host(name).is_fast
