"""What a run has learned about hosts, shared by all its files, so that a sick host is found out once."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from modelfetch.engine.rate import Clock
from modelfetch.errors import Fault, SourceError

DOWN_SECONDS = 30.0
"""How long a host that could not be reached is not tried again for other files."""

_UNREACHABLE = frozenset({Fault.CONNECT, Fault.TLS, Fault.PROXY})
# Faults of one file only: they say nothing about the next one.
_OF_ONE_FILE = frozenset({Fault.NOT_FOUND, Fault.AUTHORISATION, Fault.MISSING})


@dataclass(slots=True)
class _Host:
    ready_at: float = 0.0
    demoted: bool = False
    down_until: float = 0.0
    down: SourceError | None = None


class Hosts:
    """Who asked us to wait, who failed, who cannot be reached. Thread-safe."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}

    def _host(self, name: str) -> _Host:
        return self._hosts.setdefault(name, _Host())

    def park(self, name: str, seconds: float) -> None:
        """Leave a host alone: it asked one of us to come back later, and that holds for all."""
        with self._lock:
            host = self._host(name)
            host.ready_at = max(host.ready_at, self._clock() + seconds)

    def ready_at(self, name: str) -> float:
        """When the host may be asked again, in clock seconds; the past when it never asked us to wait."""
        with self._lock:
            return self._host(name).ready_at

    def give_up(self, name: str, error: SourceError) -> None:
        """Remember that a file left this host."""
        if error.fault in _OF_ONE_FILE:
            return
        with self._lock:
            host = self._host(name)
            host.demoted = True
            if error.fault in _UNREACHABLE:
                host.down, host.down_until = error, self._clock() + DOWN_SECONDS

    def welcome(self, name: str) -> None:
        """Forget all ill: the host just delivered. How long it asked us to wait still holds."""
        with self._lock:
            host = self._host(name)
            host.demoted, host.down = False, None

    def is_demoted(self, name: str) -> bool:
        """Whether the host failed for another file: it is asked last then, and once."""
        with self._lock:
            return self._host(name).demoted

    def is_well(self, name: str) -> bool:
        """Whether the host may be asked right now, and nothing speaks against it."""
        with self._lock:
            host = self._hosts.get(name)
            return host is None or (not host.demoted and self._clock() >= max(host.ready_at, host.down_until))

    def down(self, name: str) -> SourceError | None:
        """Why the host cannot be reached, if that was found out a moment ago."""
        with self._lock:
            host = self._host(name)
            return host.down if self._clock() < host.down_until else None
