"""Progress of files, also while their own threads have nothing to report, and the time limit of a run.

A thread that fetches yields progress at most ten times a second, and none while it waits for the next byte.
So the bytes that it received last before a stall would be reported only after the stall. The thread that
follows the run therefore reads the positions itself and yields progress for files that were silent for too
long.

Hashing a file on disk yields progress in the same way. :class:`Deadline` checks the time limit
(``--timeout``) with each item, and knows which file the run was waiting for when it was reached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from modelfetch.engine.events import Event, FileCommitted, Progress, SourceFailed
from modelfetch.engine.rate_limit import PROGRESS_SECONDS, Clock, Ticker
from modelfetch.engine.workers import Task
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.source_kinds import CACHE

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.model.manifest import FileSpec

SILENCE_SECONDS = 1.0
"""The longest time without a progress event for a file in work. Reporters count the seconds without a byte,
and a client that starts to follow a job must not have to wait for a slow server."""
MOVED_SECONDS = 2 * PROGRESS_SECONDS
"""The same for a file whose position changed. Twice the interval of the thread that fetches it, so that its
own report normally comes first."""

FileId = tuple[str, str]
"""Model and path."""
Positions = Mapping[FileId, Callable[[], int]]
"""The bytes received so far of each file in work. Entries may change at any time."""

T = TypeVar("T")
"""Items that are not events: the ends of files."""


@dataclass(slots=True)
class _Reported:
    """The progress reported last for a file, and when."""

    progress: Progress
    at: float


def with_heartbeat(
    items: Iterator[Event | T | None], clock: Clock, positions: Positions
) -> Iterator[Event | T | None]:
    """Pass every item on, and add progress for files that reported none for too long.

    Progress is absolute, so repeating it changes nothing but the time of the last report.

    Args:
        items: Items of all files; None now and then while there are none.
        clock: Monotonic seconds.
        positions: The bytes received of each file in work.
    """
    reported: dict[FileId, _Reported] = {}
    for item in items:
        now = clock()
        if isinstance(item, Progress):
            key = item.model, item.file
            progress = _not_behind(item, reported.get(key), positions)
            reported[key] = _Reported(progress, now)
            yield progress
        else:
            if reported and item is not None:  # any other event of a file ends the stage that had progress
                reported.pop((getattr(item, "model", ""), getattr(item, "file", "")), None)
            yield item
        for last in reported.values():
            progress = _now(last.progress, positions)
            has_moved = progress.received != last.progress.received
            if now - last.at >= (MOVED_SECONDS if has_moved else SILENCE_SECONDS):
                last.progress, last.at = progress, now
                yield progress


def _now(progress: Progress, positions: Positions) -> Progress:
    """Replace the position of a progress by the current one."""
    position = positions.get((progress.model, progress.file))
    received = progress.received if position is None else position()
    return progress if received == progress.received else replace(progress, received=received)


def _not_behind(progress: Progress, last: _Reported | None, positions: Positions) -> Progress:
    """Bring a progress up to date that was still in the queue while a later position was reported from here.

    A file that starts again from an earlier byte has that byte as its current position, and keeps it.
    """
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
            yield Progress(model, file.path, CACHE, "", 1, done, file.size)
    return hasher.hexdigest()


class Deadline:
    """Checks the time limit of a run with each item that it yields.

    Args:
        runtime: Of the run.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._in_work: dict[tuple[str, str], Progress] = {}
        """The last progress of each file in work, the most recent one last."""

    def check(self, item: object) -> None:
        """Note an item, and raise when the time is up.

        Raises:
            DeadlineError: It is.
        """
        if self._runtime.deadline is None:  # as in most runs; thousands of small files come here
            return
        match item:
            case Progress(model=model, file=file):
                self._in_work.pop((model, file), None)
                self._in_work[model, file] = item
            case FileCommitted(model=model, file=file) | SourceFailed(model=model, file=file):
                self._in_work.pop((model, file), None)
            case _:
                pass
        self._runtime.check_deadline(self._doing())

    def _doing(self) -> str:
        if not self._in_work:
            return ""
        last = next(reversed(self._in_work.values()))
        return f"{last.model}: {last.file} from {last.source} {last.host}".rstrip()
