"""Signs of life from files whose own thread has nothing to tell, so that no follower waits in the dark.

Whoever fetches tells at most ten times a second, and not at all while it waits for the next byte. So what
came last before a pause would be told only after it. Here the follower's thread looks for itself.

Hashing a file on disk while telling how far it is.

The time limit of a run (``--timeout``), and what the run was at when it was reached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.engine.events import Event, FileCommitted, Progress, SourceFailed
from modelfetch.engine.rate_limit import PROGRESS_SECONDS, Clock, Ticker
from modelfetch.engine.workers import Done, T, Task
from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.model.manifest import FileSpec

SILENCE_SECONDS = 1.0
"""The longest time without a progress event for a file under way: seconds without a byte are counted by the
second, and who begins to follow shall not wait for a server that is slow to send."""
MOVED_SECONDS = 2 * PROGRESS_SECONDS
"""The same for a file that got on. Twice the pause of whoever tells of it itself, who so comes first."""

FileId = tuple[str, str]
"""Model and path."""
Positions = Mapping[FileId, Callable[[], int]]
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
    told: dict[FileId, _Told] = {}
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


def hash_with_progress(runtime: Runtime, model: str, file: FileSpec, path: Path) -> Task[str]:
    """Compute the SHA-256 of a file, in hexadecimal.

    Raises:
        StoreError: The file cannot be read.
        Cancelled: The run was cancelled.
    """
    hasher, done, ticker = hashlib.sha256(), 0, Ticker(runtime.clock)
    for piece in runtime.store.read(path):
        runtime.cancel.raise_if_cancelled()
        hasher.update(piece)
        done += len(piece)
        if ticker.due():
            yield Progress(model, file.path, "cache", "", 1, done, file.size)
    return hasher.hexdigest()


class Deadline:
    """Watches the clock while events pass.

    Args:
        runtime: Of the run.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._under_way: dict[tuple[str, str], Progress] = {}
        """The files of which bytes are waited for; the one heard of last comes last."""

    def check(self, happened: Event | Done[T] | None) -> None:
        """Take note of what happened, and of the time.

        Raises:
            DeadlineError: It is up.
        """
        if self._runtime.deadline is None:  # as most runs have it; thousands of small files pass here
            return
        match happened:
            case Progress(model=model, file=file):
                self._under_way.pop((model, file), None)
                self._under_way[model, file] = happened
            case FileCommitted(model=model, file=file) | SourceFailed(model=model, file=file):
                self._under_way.pop((model, file), None)
            case _:
                pass
        self._runtime.check_deadline(self._doing())

    def _doing(self) -> str:
        if not self._under_way:
            return ""
        last = next(reversed(self._under_way.values()))
        return f"{last.model}: {last.file} from {last.source} {last.host}".rstrip()
