"""Runs a blocking generator in a thread of its own, so that the caller can leave it at any time.

A library that waits inside compiled code can neither be cancelled nor given the limits of
:class:`.StallTimer`. Its calls run in a daemon thread, a few items ahead. The caller waits for the next item
under its own limits, and leaves when they are reached or the run is cancelled::

    work = Background(lambda: client.stream(), cancel)
    while (piece := work.next(timer)) is not None: ...

A thread that was left ends at its next item, or when the library's own timeout passes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from modelfetch.threads import require

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.net.time_limits import StallTimer

T = TypeVar("T")

AHEAD: Final = 4
"""Items that may wait for the caller. Pieces have up to some 100 KB, so this is the memory of a stream."""
POLL_SECONDS: Final = 0.1
"""How often a waiting caller looks whether the run was cancelled."""
_END: Final = object()


class Background(Generic[T]):
    """A generator that runs in a thread of its own.

    Args:
        produce: Makes the generator, in that thread.
        cancel: Ends the waits of the caller.
        name: Name of the thread.
    """

    def __init__(self, produce: Callable[[], Iterator[T]], cancel: Cancellation, name: str) -> None:
        self._produce = produce
        self._cancel = cancel
        self._items: queue.Queue[object] = queue.Queue(AHEAD)
        self._left = threading.Event()
        self._thread = require(self._run, name)

    @property
    def is_left(self) -> bool:
        """Whether the caller has left; the generator should end."""
        return self._left.is_set()

    def next(self, timer: StallTimer, tick: Callable[[], None] = lambda: None) -> T | None:
        """Wait for the next item; None at the end.

        Args:
            timer: Limits the wait.
            tick: Called while waiting, every :data:`POLL_SECONDS`.

        Raises:
            TimeoutError: The limit was reached.
            Cancelled: The run was cancelled.
            Exception: What the generator raised.
        """
        while True:
            self._cancel.raise_if_cancelled()
            try:
                item = self._items.get_nowait()
            except queue.Empty:
                tick()
                try:
                    item = self._items.get(timeout=min(timer.remaining(), POLL_SECONDS))
                except queue.Empty:
                    continue
            if item is _END:
                return None
            if isinstance(item, _Failure):
                raise item.error
            return item  # type: ignore[return-value] # only items of the generator are left

    def close(self, join_seconds: float = 0.0) -> None:
        """Leave the generator.

        Args:
            join_seconds: How long to wait for its end, for work that ends with a request of its own.
        """
        self._left.set()
        while not self._items.empty():  # frees the place that the thread may be waiting for
            try:
                self._items.get_nowait()
            except queue.Empty:
                break
        if join_seconds:
            self._thread.join(join_seconds)

    def _run(self) -> None:
        try:
            items = self._produce()
            for item in items:
                if not self._put(item):
                    # At once, not when the generator is collected: it may hold a connection.
                    getattr(items, "close", lambda: None)()
                    return
            self._put(_END)
        except BaseException as error:  # handed over to the caller
            self._put(_Failure(error))

    def _put(self, item: object) -> bool:
        while not self._left.is_set():
            try:
                self._items.put(item, timeout=POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False


class _Failure:
    """What a generator raised."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
