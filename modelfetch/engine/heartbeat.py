"""Signs of life from files whose own thread has nothing to tell, so that no follower waits in the dark.

Whoever fetches tells at most ten times a second, and not at all while it waits for the next byte. So what
came last before a pause would be told only after it. Here the follower's thread looks for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from modelfetch.engine.events import Event, Progress
from modelfetch.engine.rate import PROGRESS_SECONDS, Clock
from modelfetch.engine.workers import Done, T
from modelfetch.values import dataclass

SILENCE_SECONDS = 1.0
"""The longest time without a progress event for a file under way: seconds without a byte are counted by the
second, and who begins to follow shall not wait for a server that is slow to send."""
MOVED_SECONDS = 2 * PROGRESS_SECONDS
"""The same for a file that got on. Twice the pause of whoever tells of it itself, who so comes first."""

Key = tuple[str, str]
"""Model and path."""
Positions = Mapping[Key, Callable[[], int]]
"""How many bytes of the files under way are there now. May change at any time."""

Happened = Event | Done[T] | None


@dataclass(slots=True)
class _Told:
    """What was told last about a file, and when."""

    progress: Progress
    at: float


def with_heartbeat(
    happened: Iterator[Happened[T]], clock: Clock, positions: Positions
) -> Iterator[Happened[T]]:
    """Pass everything on, and tell how far files are that have not told it themselves.

    Progress is absolute, so repeating it changes nothing but the time of the last sign of life.

    Args:
        happened: What the files tell; None now and then when nothing does.
        clock: Monotonic seconds.
        positions: Where to look.
    """
    told: dict[Key, _Told] = {}
    for item in happened:
        now = clock()
        if isinstance(item, Progress):
            key = item.model, item.file
            progress = _not_behind(item, told.get(key), positions)
            told[key] = _Told(progress, now)
            yield progress
        else:
            if told and item is not None and not isinstance(item, Done):
                told.pop((getattr(item, "model", ""), getattr(item, "file", "")), None)
            yield item
        for last in told.values():
            progress = _now(last.progress, positions)
            has_moved = progress.received != last.progress.received
            if now - last.at >= (MOVED_SECONDS if has_moved else SILENCE_SECONDS):
                last.progress, last.at = progress, now
                yield progress


def _now(progress: Progress, positions: Positions) -> Progress:
    """Bring a progress up to date."""
    position = positions.get((progress.model, progress.file))
    received = progress.received if position is None else position()
    return progress if received == progress.received else replace(progress, received=received)


def _not_behind(progress: Progress, last: _Told | None, positions: Positions) -> Progress:
    """Replace one that was on its way while later bytes were told of; one that begins again is as it is."""
    is_behind = last is not None and progress.received < last.progress.received
    return _now(progress, positions) if is_behind else progress
