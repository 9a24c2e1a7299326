"""A sign of life from files that have nothing new to tell, so that no follower waits in the dark."""

from __future__ import annotations

from collections.abc import Iterator

from modelfetch.engine.events import Event, Progress
from modelfetch.engine.rate import Clock
from modelfetch.engine.workers import Done, T

SILENCE_SECONDS = 5.0
"""The longest time without a progress event for a file under way."""
FIRST_SECONDS = 1.0
"""The same after the progress with which an attempt begins: who begins to follow with the first bytes shall
not wait for a server that is slow to send them."""

Happened = Event | Done[T] | None


def with_heartbeat(happened: Iterator[Happened[T]], clock: Clock) -> Iterator[Happened[T]]:
    """Pass everything on, repeating the last progress of files that were silent for too long.

    Progress is absolute, so repeating it changes nothing but the time of the last sign of life.
    """
    last: dict[tuple[str, str], tuple[float, Progress]] = {}
    """When the next sign of life of a file is due, and what it is."""
    for item in happened:
        now = clock()
        if isinstance(item, Progress):
            key = item.model, item.file
            last[key] = now + (SILENCE_SECONDS if key in last else FIRST_SECONDS), item
        elif last and item is not None and not isinstance(item, Done):
            last.pop((getattr(item, "model", ""), getattr(item, "file", "")), None)
        yield item
        for key, (due, progress) in list(last.items()):
            if now >= due:
                last[key] = now + SILENCE_SECONDS, progress
                yield progress
