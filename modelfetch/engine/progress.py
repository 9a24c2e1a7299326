"""Progress of files, also while their own threads have nothing to report, and the time limit of a run.

A thread that fetches yields progress at most ten times a second, and none while it waits: for the next byte,
for the time of its next attempt, for a disk. So the thread that follows the run repeats the progress of each
file in work that had no event for too long, with the bytes that are there by now. ``attempt`` is 0 while no
request is under way: after ``file_started``, before a retry or another source, and after ``file_verified``.

A thread that fetches a file of a batch yields no event before the whole answer is there. It registers its
request (:mod:`modelfetch.engine.batch_requests`), and the thread that follows the run reports the start of
that file when it takes long::

    file_started   f/0.txt
    progress       f/0.txt  attempt 1, 0 bytes      and so on, every second
    file_verified  f/0.txt

Hashing a file on disk yields progress in the same way. :class:`Deadline` checks the time limit
(``--timeout``) with each item, and knows which file the run was waiting for when it was reached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from modelfetch.engine.events import (
    Event,
    FileCommitted,
    FileQuarantined,
    FileStarted,
    FileVerified,
    Progress,
    RetryScheduled,
    SourceFailed,
)
from modelfetch.engine.rate_limit import PROGRESS_SECONDS, Clock, Ticker
from modelfetch.engine.workers import Task
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.source_kinds import CACHE

if TYPE_CHECKING:
    from modelfetch.engine.batch_requests import Request, Requests
    from modelfetch.engine.runtime import Runtime
    from modelfetch.model.manifest import FileSpec
    from modelfetch.store.chunk_digests import ChunkHasher

SILENCE_SECONDS = 1.0
"""The longest time without a progress event for a file that is requested or read. Reporters count the seconds
without a byte, and a client that starts to follow a job must not have to wait for a slow server."""
WAITING_SECONDS = 2.5
"""The same for a file in work that waits for something else. The contract allows five seconds, which a busy
reporter may delay; and a log has a line every ten seconds."""
ANNOUNCED_SECONDS = 2.0
"""Seconds after which the start of a requested file of a batch is reported: twice those that a connection is
allowed for its first answer when the server has no thread for it, which is no reason for an event."""
MOVED_SECONDS = 2 * PROGRESS_SECONDS
"""The same for a file whose position changed. Twice the interval of the thread that fetches it, so that its
own report normally comes first."""
LOOK_SECONDS = PROGRESS_SECONDS
"""Seconds between two checks of all files in work: a batch has hundreds of them, and thousands of events a
second."""

FileId = tuple[str, str]
"""Model and path."""
Positions = Mapping[FileId, Callable[[], int]]
"""The bytes received so far of each file in work. Entries may change at any time."""

T = TypeVar("T")
"""Items that are not events: the ends of files, each with the ``model`` and ``file`` that it is about."""


@dataclass(slots=True)
class _InWork:
    """The last event of a file in work, from which its progress follows, and when it was reported."""

    event: Progress | FileStarted | FileVerified
    at: float
    is_request: bool = False
    """Whether only its request in a batch says that it is in work."""


def with_heartbeat(
    items: Iterator[Event | T | None], clock: Clock, positions: Positions, requests: Requests | None = None
) -> Iterator[Event | T | None]:
    """Pass every item on, and add progress for files in work that had no event for too long.

    Progress is absolute, so repeating it changes nothing but the time of the last report.

    Args:
        items: Items of all files; None now and then while there are none.
        clock: Monotonic seconds.
        positions: The bytes received of each file in work.
        requests: Requests without events.
    """
    files = _FilesInWork(positions, {} if requests is None else requests)
    for item in items:
        now = clock()
        yield item if item is None else files.note(item, now)
        if now >= files.look_at:
            yield from files.overdue(now)


_STAGES: Final = (FileStarted, FileVerified)
"""Events after which a file waits for a source, for its hash or for its commit."""


class _FilesInWork:
    """The files in work, as their events say. Used by the thread that follows the run."""

    def __init__(self, positions: Positions, requests: Requests) -> None:
        self._positions = positions
        self._requests = requests
        self._files: dict[FileId, _InWork] = {}
        self.look_at = 0.0
        """Time of the next check of all files."""

    def note(self, item: Event | T, now: float) -> Event | T:
        """Note what an item says about its file. Returns the item, its position brought up to date."""
        key = getattr(item, "model", ""), getattr(item, "file", "")
        if isinstance(item, _STAGES):
            self._files[key] = _InWork(item, now)
        elif isinstance(item, Progress):
            item = self._not_behind(item, key)
            self._files[key] = _InWork(item, now)
        elif key in self._files and not isinstance(item, FileQuarantined):  # the failure itself follows that
            last = self._files.pop(key)
            if isinstance(item, RetryScheduled | SourceFailed):
                self._note_failure(item, last, now)
        return item

    def _note_failure(self, event: RetryScheduled | SourceFailed, last: _InWork, now: float) -> None:
        """Note that no request is under way until another attempt begins, if one follows."""
        progress = replace(_progress(last.event), source=event.source, host=event.host, attempt=0)
        if isinstance(event, SourceFailed):
            if not event.next_source:
                return
            source, host, received = event.next_source, event.next_host, event.received
            progress = replace(progress, source=source, host=host, received=received)
        self._files[event.model, event.file] = _InWork(progress, now)

    def overdue(self, now: float) -> Iterator[Event]:
        """Report the files that had no event for too long."""
        self.look_at = now + LOOK_SECONDS
        yield from self._announce(now)
        for key, file in list(self._files.items()):
            if now - file.at < MOVED_SECONDS:
                continue
            last = _progress(file.event)
            progress = self._now(last, key)
            is_silent = now - file.at >= (SILENCE_SECONDS if last.attempt else WAITING_SECONDS)
            if not is_silent and progress.received == last.received:
                continue
            if file.is_request and key not in self._requests:
                # Its events come with the next items, if there are any. Else it was left to the ordinary way.
                if is_silent:
                    del self._files[key]
                    yield replace(last, attempt=0, received=0)
                continue
            file.event, file.at = progress, now
            yield progress

    def _announce(self, now: float) -> Iterator[Event]:
        """Report the start of files whose request takes long."""
        for key, request in self._requests.copy().items():  # other threads add and remove entries meanwhile
            if request.is_announced or now - request.began < ANNOUNCED_SECONDS:
                continue
            if key not in self._requests:  # answered meanwhile
                continue
            request.is_announced = True
            if key in self._files:  # requested again
                continue
            progress = Progress(*key, request.source, request.host, 1, 0, request.size)
            self._files[key] = _InWork(progress, now, is_request=True)
            yield FileStarted(*key, request.size, 0)
            yield progress

    def _now(self, progress: Progress, key: FileId) -> Progress:
        """Replace the position of a progress by the current one."""
        request, position = self._requests.get(key), self._positions.get(key)
        if request is not None:
            received = request.received
        else:
            received = progress.received if position is None else position()
        return progress if received == progress.received else replace(progress, received=received)

    def _not_behind(self, progress: Progress, key: FileId) -> Progress:
        """Bring a progress up to date that was still in the queue while a later position was reported here.

        A file that starts again from an earlier byte has that byte as its current position, and keeps it.
        """
        last = self._files.get(key)
        if last is None or not isinstance(last.event, Progress):
            return progress
        return self._now(progress, key) if progress.received < last.event.received else progress


def _progress(event: Progress | FileStarted | FileVerified) -> Progress:
    """The progress that follows from an event."""
    match event:
        case Progress():
            return event
        case FileStarted():
            return Progress(event.model, event.file, "", "", 0, event.offset, event.size)
        case FileVerified():
            return Progress(event.model, event.file, "", "", 0, event.size, event.size)


def hash_with_progress(
    runtime: Runtime, model: str, file: FileSpec, path: Path, chunks: ChunkHasher | None = None
) -> Task[str]:
    """Compute the SHA-256 of a file, in hexadecimal.

    Args:
        runtime: Of the run.
        model: The model that the events name.
        file: The file that the events name.
        path: Where it is on disk.
        chunks: Hashes the file, and its chunks for a chunk map.

    Raises:
        StoreError: The file cannot be read.
        Cancelled: The run was cancelled.
    """
    hasher, done, ticker = chunks or hashlib.sha256(), 0, Ticker(runtime.clock)
    for piece in runtime.store.read(path, file.size):
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
            case Progress(model=model, file=file) if item.source:
                self._in_work.pop((model, file), None)
                self._in_work[model, file] = item
            case FileCommitted(model=model, file=file) | SourceFailed(model=model, file=file):
                self._in_work.pop((model, file), None)
            case _:
                pass
        self._runtime.check_deadline(self._doing())

    def _doing(self) -> str:
        # A copy, because other threads add and remove requests meanwhile.
        in_work: list[Progress | Request] = [*self._runtime.requests.copy().values(), *self._in_work.values()]
        if not in_work:
            return ""
        last = in_work[-1]
        return f"{last.model}: {last.file} from {last.source} {last.host}".rstrip()
