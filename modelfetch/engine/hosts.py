"""What a run has learned about hosts, shared by all its files.

A host that fails or asks for a pause is found out once, by the first file that asks it; the other files
then ask other hosts first. Nothing here is kept after the run; :mod:`modelfetch.history` is the memory
between runs.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelfetch.engine.rate_limit import Clock

DOWN_SECONDS = 30.0
"""Seconds for which a host that could not be reached is not tried again for other files."""

CONNECTIONS = 8
"""Most connections to one host for the segments of large files; hosts begin to refuse a little above it."""

_UNREACHABLE = frozenset({Fault.CONNECT, Fault.TLS, Fault.PROXY})
# These faults concern one file only and predict nothing about the next one.
_OF_ONE_FILE = frozenset({Fault.NOT_FOUND, Fault.AUTHORIZATION, Fault.MISSING})

Wait = tuple[float, float]
"""Start and end, in clock seconds."""


@dataclass(slots=True)
class _Host:
    ready_at: float = 0.0
    """Clock seconds before which it must not be asked, because it said so."""
    failed: frozenset[str] = frozenset()
    """Digests of at most two files it failed for: enough to know whether it failed for another file."""
    down_until: float = 0.0
    down: SourceError | None = None
    sends_ranges: bool = True
    is_fast: bool = False
    connections: int = 0
    max_connections: int = CONNECTIONS
    in_vain: float = 0.0
    """Seconds for which files waited for it that came from elsewhere, since it delivered one."""
    in_vain_until: float = float("-inf")
    """Clock seconds of the end of the last of these waits."""


class Hosts:
    """The state of every host of a run, and the only owner of its changes. Thread-safe.

    One lock protects the table, every record in it and the expected size; each method takes it once, and
    no other lock while it holds it. What the methods return are copies or values that never change.

    Args:
        clock: Monotonic seconds.
        connections: Most connections to one host for the segments of large files.
    """

    def __init__(self, clock: Clock = time.monotonic, connections: int = CONNECTIONS) -> None:
        self._clock = clock
        self._max_connections = connections
        self._expected = 0
        self._spare = connections - 1
        """Connections that no file has yet, beyond the one of each file."""
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}
        self._waits: dict[str, Mapping[str, Wait]] = {}
        """By digest: the waits of files that are not there yet."""

    def expect(self, size: int, files: int) -> None:
        """Set what a run starts with, before its files share the connections to a host.

        Args:
            size: Missing bytes of all files.
            files: Number of files that start together, each with one connection at least.
        """
        with self._lock:
            self._expected = size
            self._spare = max(0, self._max_connections - files)

    def share_connections(self, size: int, most: int) -> int:
        """Return how many connections a file is cut for: one, and by its size some of those still to share.

        They are fewer with each call, so that rounding never gives all files together more than a host
        allows: a part without a connection would begin when the others end.

        Args:
            size: Missing bytes of the file.
            most: Most connections that it can use.

        Returns:
            A number to be returned with :meth:`return_connections`.
        """
        if most == 1:
            return 1
        with self._lock:
            more = min(most - 1, round(self._spare * size / max(1, size, self._expected)))
            self._spare -= more
            self._expected -= size
            return 1 + more

    def return_connections(self, count: int) -> None:
        """Return what :meth:`share_connections` gave, for files that start later."""
        with self._lock:
            self._spare += count - 1

    def _host(self, name: str) -> _Host:
        """Return the record of a host, made on first use. The caller holds the lock."""
        return self._hosts.setdefault(name, _Host(max_connections=self._max_connections))

    def defer(self, name: str, seconds: float) -> None:
        """Ask a host no sooner than in some seconds: it asked one file to come back then.

        The longer of two such waits holds, whichever was asked for first.
        """
        with self._lock:
            host = self._host(name)
            host.ready_at = max(host.ready_at, self._clock() + seconds)

    def ready_at(self, name: str) -> float:
        """Return when the host may be asked, in clock seconds; a time in the past if it never set one."""
        with self._lock:
            return self._host(name).ready_at

    def record_failure(self, name: str, error: SourceError, file: str = "") -> None:
        """Record that a file stopped using this host.

        Args:
            name: The host.
            error: Why. Faults of one file only are ignored.
            file: Digest of the file. The same host may offer it at a second address, which is not demoted by
                a failure of the first.
        """
        if error.fault in _OF_ONE_FILE:
            return
        with self._lock:
            host = self._host(name)
            if len(host.failed) < 2:
                host.failed |= {file}
            # Where a redirect led to another host, it is that one that cannot be reached.
            if error.fault in _UNREACHABLE and not error.elsewhere:
                host.down, host.down_until = error, self._clock() + DOWN_SECONDS

    def record_success(self, name: str) -> None:
        """Clear all failures of a host that delivered.

        A wait that it asked for still holds: this delivery may have begun before the host asked.
        """
        with self._lock:
            host = self._host(name)
            host.failed, host.down = frozenset(), None

    def is_demoted(self, name: str, file: str = "-") -> bool:
        """Return whether the host failed for another file than this one; it is then asked last."""
        with self._lock:
            return bool(self._host(name).failed - {file})

    def is_healthy(self, name: str) -> bool:
        """Return whether the host may be asked right now and has no recorded failure."""
        with self._lock:
            host = self._hosts.get(name)
            return host is None or (not host.failed and self._clock() >= max(host.ready_at, host.down_until))

    def down(self, name: str) -> SourceError | None:
        """Return why the host cannot be reached, for :data:`DOWN_SECONDS` after the failure; else None."""
        with self._lock:
            host = self._host(name)
            return host.down if self._clock() < host.down_until else None

    def note_waits(self, file: str, waits: Mapping[str, Wait]) -> None:
        """Note for which hosts a file has waited; :meth:`note_file` tells whether that was in vain.

        Args:
            file: Its digest.
            waits: By host: start and end, in clock seconds.
        """
        if waits:
            with self._lock:
                self._waits[file] = waits

    def note_file(self, file: str, name: str, *, is_awaited: bool) -> None:
        """Note which host a verified file came from.

        Args:
            file: Its digest.
            name: The host.
            is_awaited: Whether it is one of a kind that files wait for. What it delivers makes up for the
                waits for it; else all for which this file has waited were waited for in vain.
        """
        with self._lock:
            waits = self._waits.pop(file, {})
            if is_awaited:
                self._host(name).in_vain = 0.0
                return
            for each, (began, ended) in waits.items():
                host = self._host(each)
                # Of waits at the same time, each second counts once.
                host.in_vain += max(0.0, ended - max(began, host.in_vain_until))
                host.in_vain_until = max(ended, host.in_vain_until)

    def in_vain(self, name: str) -> float:
        """Return the seconds for which files waited in vain for a host, since it delivered one."""
        with self._lock:
            return self._host(name).in_vain

    def acquire_connection(self, name: str, *, is_first: bool = False, most: int | None = None) -> bool:
        """Count a new connection, unless the host already has the most it may have.

        Args:
            name: The host.
            most: A lower limit than that of the host.
            is_first: Whether the file has no other connection. It is then always allowed: a file without any
                connection could not be fetched at all.

        Returns:
            Whether it is allowed. If so, :meth:`release_connection` must follow.
        """
        with self._lock:
            host = self._host(name)
            limit = host.max_connections if most is None else min(most, host.max_connections)
            is_allowed = is_first or host.connections < limit
            host.connections += is_allowed
            return is_allowed

    def release_connection(self, name: str) -> None:
        """Count a connection as closed."""
        with self._lock:
            self._host(name).connections -= 1

    def connections(self, name: str) -> int:
        """Return how many connections to the host are counted as open."""
        with self._lock:
            return self._host(name).connections

    def reduce_connections(self, name: str) -> None:
        """Allow one connection fewer than are open now: the host refused one, or asked for fewer."""
        with self._lock:
            host = self._host(name)
            host.max_connections = max(1, min(host.max_connections, host.connections) - 1)

    def note_whole_only(self, name: str) -> None:
        """Note that the host sends whole files whatever range it is asked for."""
        with self._lock:
            self._host(name).sends_ranges = False

    def sends_ranges(self, name: str) -> bool:
        """Return whether the host sends ranges, as far as is known."""
        with self._lock:
            return self._host(name).sends_ranges

    def note_speed(self, name: str, *, is_fast: bool | None) -> None:
        """Note whether one connection to the host is fast enough alone; None, not known yet, is ignored."""
        if is_fast is not None:
            with self._lock:
                self._host(name).is_fast = is_fast

    def is_fast(self, name: str) -> bool:
        """Return whether one connection to the host is known to be fast enough."""
        with self._lock:
            return self._host(name).is_fast
