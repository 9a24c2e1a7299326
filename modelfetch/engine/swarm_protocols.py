"""What the engine asks of a swarm: protocols between a run and :mod:`modelfetch.engine.swarm_session`.

A run knows only this. So a run without a swarm loads nothing of it, and the modules of the swarm may use
those of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from modelfetch.engine.events import Event


class FileSwarm(Protocol):
    """The part of a swarm in one file."""

    def run(self, transfer: Any) -> Iterator[Event]:
        """Fill the partial of a transfer (:mod:`modelfetch.engine.transfer`), in place of its ``run``."""


class RunSwarm(Protocol):
    """A swarm, as a run uses it."""

    def covered(self, jobs: Sequence[Any]) -> frozenset[tuple[str, int]]:
        """Return the keys of those jobs that a swarm may fill; it then has a copy of their files, too."""

    def begin(self, jobs: Sequence[Any]) -> frozenset[tuple[str, int]]:
        """Join the swarms of some jobs; returns the keys of those that a swarm may fill."""

    def file(self, runtime: Any, job: Any) -> FileSwarm | None:
        """Return the part of the swarm in a job, or None."""

    def close(self) -> None:
        """End it."""
