"""Documents that were made a moment ago, so that many requests for one cost little.

The listing of a repository of 20,000 files takes a tenth of a second to make, and any client can request
it. Clients that start together request the same one, too. Example::

    content = recent.get(("org/repo", "tree", True), lambda: make_tree())
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

KEEP_SECONDS: Final = 2.0
"""Seconds that a document is kept: what is in the cache changes it."""
MOST_KEPT: Final = 8
"""Documents that are kept; the largest have some 6 MB."""


class RecentDocuments:
    """Keeps the last documents for a moment. Thread-safe.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Held while a document is made: requests for the same one wait for it instead of making it, too.
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[float, bytes]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return the document of a key; makes it if it is not there or too old.

        Exceptions of ``make`` are raised, and nothing is kept then.
        """
        with self._lock:
            known = self._kept.pop(key, None)
            if known is None or self._clock() - known[0] >= KEEP_SECONDS:
                content = make()
                known = self._clock(), content
            self._kept[key] = known
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return known[1]
