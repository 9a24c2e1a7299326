"""Asks the other gateways of a file early, while the first one is silent.

Gateways are asked one after the other, and each may be silent for some seconds before it is left. Three dead
ones would cost three times as long before the next kind of source is asked. So after a moment of silence the
others are asked whether they have the first block, all at once and each with the full time limit; their turn
then begins with that result::

    0.0 s   gateway A is asked for the file
    0.5 s   silence: B and C are asked for its first block
    5.0 s   A fails
    5.5 s   B and C fail; the next kind of source is asked

This is done only while another kind of source is left (its sign is a limit for the first byte), and never
while a gateway is asked that has sent data in this run.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from modelfetch.cancel import Cancelled
from modelfetch.errors import Fault, SourceError
from modelfetch.threads import start

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelfetch.ipfs.cid import Cid
    from modelfetch.sources.ipfs_gateway import Gateway

SILENCE: Final = 0.5
"""Seconds of silence after which the other gateways are asked: a gateway that has a file near answers within
a round trip or two, and with 5 s for each one the whole search ends within 6 s."""


class _Early:
    """An early request to one gateway."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self.error: SourceError | None = None


class Hedge:
    """The early requests for one file. Thread-safe.

    Args:
        gateways: All gateways of the file.
        root: CID whose block is asked for.
    """

    def __init__(self, gateways: Sequence[Gateway], root: Cid) -> None:
        self._gateways = gateways
        self._root = root
        self._lock = threading.Lock()
        self._early: dict[Gateway, _Early] = {}
        self._asked: set[Gateway] = set()

    @contextmanager
    def waiting(self, gateway: Gateway, first_byte: float | None) -> Iterator[None]:
        """Ask a gateway inside the context; the others are asked too while it is silent.

        Raises:
            SourceError: The gateway was asked early, and failed.
        """
        if first_byte is None or gateway.has_answered:
            yield
            return
        self._raise_early(gateway, first_byte)
        with self._lock:
            self._asked.add(gateway)
            is_other_left = any(each not in self._asked for each in self._gateways)
        answered = threading.Event()
        if is_other_left:
            # Without a thread, the others are asked in their turn.
            start(partial(self._watch, answered, first_byte), "modelfetch-gateways")
        try:
            yield
        finally:
            answered.set()

    def _raise_early(self, gateway: Gateway, seconds: float) -> None:
        """Wait for the early request to a gateway, if there is one, and raise what it failed with, once."""
        with self._lock:
            early = self._early.get(gateway)
        if early is None:
            return
        is_over = early.is_over.wait(seconds)
        with self._lock:
            self._early.pop(gateway, None)
        if not is_over:
            raise SourceError(Fault.TIMEOUT, "no answer in time")
        if early.error is not None:
            raise early.error

    def _watch(self, answered: threading.Event, first_byte: float) -> None:
        """Ask all others at once, unless there was an answer before."""
        if answered.wait(SILENCE):
            return
        with self._lock:
            others = [each for each in self._gateways if each not in self._asked and not each.has_answered]
            self._asked.update(others)
            self._early |= {gateway: _Early() for gateway in others}
            found = [(gateway, self._early[gateway]) for gateway in others]
        for gateway, early in found:
            ask = partial(self._ask, gateway, early, first_byte)
            if start(ask, "modelfetch-gateway") is None:
                early.is_over.set()

    def _ask(self, gateway: Gateway, early: _Early, first_byte: float) -> None:
        try:
            gateway.has_block(self._root, first_byte)
        except SourceError as error:
            early.error = error
        except Cancelled:
            pass  # the thread that waits meets the cancellation itself
        finally:
            early.is_over.set()
