"""Run generators in parallel and merge their items into one stream.

Each task is a generator that one worker thread runs. Its items pass a queue to the thread that follows the
run, so that only this thread changes the state of the run and calls reporters. The parallel connections of
one file are the only other threads of the engine.

Also the number of files that a run can have in work, given the limit of open files (``ulimit -n``):

    >>> affordable(8, descriptors=None), affordable(8, descriptors=20)
    (8, 1)
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from modelfetch.engine.events import Event
from modelfetch.lazy_dataclass import dataclass
from modelfetch.store.dir_handles import most_kept
from modelfetch.threads import start

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation

T = TypeVar("T")
Item = TypeVar("Item")

Task = Generator[Event, None, T]
"""Work that yields events while it runs, and returns a result."""

LEAVE_SECONDS = 0.5
"""The longest time that a cancelled run waits for its workers, in seconds. A worker in a system call that
cannot be interrupted (resolving a host name) is left behind: a daemon thread with nothing to write."""


@dataclass(frozen=True, slots=True)
class More:
    """What a task yields to have further tasks run, after all that wait already."""

    tasks: Sequence[Generator[Any, None, object]]


@dataclass(frozen=True, slots=True)
class _Ended:
    """A task ended: normally, or with the exception it raised."""

    error: BaseException | None = None


def merge(
    tasks: Sequence[Generator[Item, None, object]],
    threads: int,
    cancel: Cancellation,
    idle: float = 0.25,
) -> Generator[Item | None, None, None]:
    """Run tasks in parallel, started in their order, and yield the items that they yield.

    Yields None when no item came for ``idle`` seconds, so that the caller can check the clock. What a task
    returns is discarded: a task that has a result yields it as an item. An exception raised by a task is
    raised here and ends the others. So does closing the iterator.

    Args:
        tasks: Generators; each runs in one thread.
        threads: The most tasks that run at the same time.
        cancel: Cancelled when this ends before all tasks have ended, so that the workers end too.
        idle: Seconds without an item after which None is yielded.

    Raises:
        Cancelled: The run was cancelled by another thread, and the workers yield nothing any more.
    """
    pool = _Pool(threads, tasks)
    if not pool.start():
        yield from _one_by_one(pool.waiting)
        return
    items, running = pool.items, len(tasks)
    try:
        while running:
            try:
                item = items.get(timeout=idle)
            except queue.Empty:
                cancel.raise_if_cancelled()  # a worker in a system call cannot notice that it was
                yield None
                continue
            if isinstance(item, More):
                running += len(item.tasks)
                pool.add(item.tasks)
                continue
            if not isinstance(item, _Ended):
                yield item
                continue
            running -= 1
            if item.error is not None:
                raise item.error
    finally:
        pool.stop()  # first: whoever ends because it is cancelled must not start a task that waits
        if running:
            cancel.cancel()
        pool.join()


class _Pool(Generic[Item]):
    """The worker threads of one run, started as tasks need them, and the tasks that wait for one."""

    def __init__(self, most: int, tasks: Sequence[Generator[Item, None, object]]) -> None:
        self.items: queue.SimpleQueue[Item | _Ended] = queue.SimpleQueue()
        self.waiting = deque(tasks)
        self._most = most
        self._workers: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._is_over = False

    def start(self) -> bool:
        """Start a worker for each waiting task, or fewer where the system refuses; whether there is any."""
        for _ in range(min(self._most - len(self._workers), len(self.waiting))):
            worker = start(self._work, f"modelfetch-{len(self._workers)}")
            if worker is None:
                break
            self._workers.append(worker)
        return bool(self._workers)

    def add(self, tasks: Sequence[Generator[Item, None, object]]) -> None:
        """Add tasks behind those that wait."""
        with self._changed:
            self.waiting.extend(tasks)
            self._changed.notify_all()
        self.start()

    def stop(self) -> None:
        """Start no further task."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait a moment until the tasks that run have ended."""
        join(self._workers, LEAVE_SECONDS)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self.waiting and not self._is_over:
                    self._changed.wait()
                if self._is_over:
                    return
                task = self.waiting.popleft()
            self.items.put(_run(task, self.items.put))


def _one_by_one(waiting: deque[Generator[Item, None, object]]) -> Generator[Item, None, None]:
    """Run tasks in the calling thread, where the system refuses even one further thread."""
    while waiting:
        with closing(waiting.popleft()) as task:
            for item in task:
                if isinstance(item, More):
                    waiting.extend(item.tasks)
                else:
                    yield item


def _run(task: Generator[Item, None, object], put: Callable[[Item], None]) -> _Ended:
    try:
        for item in task:
            put(item)
    except BaseException as error:  # even SystemExit: the thread that merges waits for the end of each task
        return _Ended(error)
    return _Ended()


def join(workers: Sequence[threading.Thread], seconds: float) -> None:
    """Wait until threads have ended, at most for this many seconds altogether."""
    until = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))


RESERVE: Final = 12
"""Descriptors that a run with one file at a time needs, without the directories of the cache that are kept
open: nine when measured, and three to spare."""
PER_FILE: Final = 4
"""Descriptors for each further file: its data, its journal, a lock or directory, and a connection."""


def affordable(files: int, descriptors: int | None) -> int:
    """The number of files that may be in work at the same time; at least one.

    Args:
        files: The number asked for.
        descriptors: The limit of open files; None for no limit.
    """
    if descriptors is None:
        return files
    left = descriptors - RESERVE - most_kept(descriptors)
    return max(1, min(files, 1 + left // PER_FILE))
