"""Many generators, one ordered stream: the only place in the engine where threads start.

How many files at once the system lets this process have open, and what a run can afford of that.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from modelfetch.engine.events import Event
from modelfetch.engine.pace import FEW, Pace
from modelfetch.lazy_dataclass import dataclass
from modelfetch.store.dir_handles import most_kept
from modelfetch.threads import start

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation

T = TypeVar("T")
Item = TypeVar("Item")

Task = Generator[Event, None, T]
"""Work that tells what happens while it runs, and returns a result."""

LEAVE_SECONDS = 0.5
"""How long a cancelled run waits for its workers. One that is stuck in a system call (resolving a name) is a
daemon thread without anything to write, and is left behind."""


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A task ended: with its result, or with the exception it raised."""

    index: int
    result: T | None
    error: BaseException | None


def merge(
    tasks: Sequence[Generator[Item, None, T]],
    threads: int,
    cancel: Cancellation,
    idle: float = 0.25,
    pace: Pace | None = None,
) -> Generator[Item | Done[T] | None, None, None]:
    """Run tasks in parallel, in their order, and yield what they yield.

    Yields None when nothing happened for ``idle`` seconds, so that the caller can look at the clock. Closing
    the iterator cancels all work. With a pace, threads beyond the first few wait for their turn.

    Raises:
        Cancelled: Somebody else cancelled the run, and nothing came from the workers any more.
    """
    happened: queue.SimpleQueue[Item | Done[T]] = queue.SimpleQueue()
    waiting = deque(enumerate(tasks))
    workers = _start(min(threads, len(tasks)), waiting, happened, pace)
    if not workers:
        yield from _one_by_one(waiting)
        return
    left = len(tasks)
    try:
        while left:
            try:
                item = happened.get(timeout=idle)
            except queue.Empty:
                # Cancelled from outside, while a worker is where it cannot be woken.
                cancel.raise_if_cancelled()
                yield None
                continue
            left -= isinstance(item, Done)
            yield item
    finally:
        if left:
            cancel.cancel()
            waiting.clear()
        if pace is not None:
            pace.let_go()
        join(workers, LEAVE_SECONDS)


def _start(
    count: int,
    waiting: deque[tuple[int, Generator[Item, None, T]]],
    happened: queue.SimpleQueue[Item | Done[T]],
    pace: Pace | None,
) -> list[threading.Thread]:
    """Start so many workers, or as many as there are threads to be had."""
    workers: list[threading.Thread] = []
    for n in range(count):
        work = partial(_work, waiting, happened, pace if n >= FEW else None)
        worker = start(work, f"modelfetch-{n}")
        if worker is None:
            break
        workers.append(worker)
    return workers


def _one_by_one(
    waiting: deque[tuple[int, Generator[Item, None, T]]],
) -> Generator[Item | Done[T], None, None]:
    """Run tasks in the calling thread, where there is no other to be had."""
    while waiting:
        index, task = waiting.popleft()
        with closing(task):
            try:
                result = yield from task
            except Exception as error:
                yield Done(index, None, error)
            else:
                yield Done(index, result, None)


def _work(
    waiting: deque[tuple[int, Generator[Item, None, T]]],
    happened: queue.SimpleQueue[Item | Done[T]],
    pace: Pace | None,
) -> None:
    if pace is not None:
        pace.wait()
    while True:
        try:
            index, task = waiting.popleft()
        except IndexError:
            return
        happened.put(_run(index, task, happened.put))


def _run(index: int, task: Generator[Item, None, T], tell: Callable[[Item], None]) -> Done[T]:
    try:
        while True:
            tell(next(task))
    except StopIteration as stop:
        return Done(index, stop.value, None)
    except BaseException as error:  # handed over to the thread that follows the stream, which waits for it
        return Done(index, None, error)


def join(workers: Sequence[threading.Thread], seconds: float) -> None:
    """Wait for threads to end, but not for longer than this in all."""
    until = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))


RESERVE: Final = 12
"""Descriptors that a run of one file at a time gets by with, all in all: nine when measured; beside them are
the directories of the cache that are kept open."""
PER_FILE: Final = 4
"""Each further file under way: its data, its journal, a lock or directory, and a connection."""


def affordable(files: int, descriptors: int | None) -> int:
    """How many of so many files may be under way at the same time: one always is."""
    if descriptors is None:
        return files
    left = descriptors - RESERVE - most_kept(descriptors)
    return max(1, min(files, 1 + left // PER_FILE))
