"""How the store reaches the disk: every operation passes :meth:`Seam.perform`, below a guarded root only.

What a caller has to expect comes back as a value; everything else is a
:class:`~modelfetch.errors.StoreError`.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from modelfetch.errors import StoreError
from modelfetch.notices import Notices
from modelfetch.store.beneath import Beneath
from modelfetch.store.refusals import NO_INODES, refusal

T = TypeVar("T")


class Seam:
    """What all operations of :class:`modelfetch.store.disk.Disk` have in common."""

    def __init__(self, *, beneath: Beneath | None = None, notices: Notices | None = None) -> None:
        """Reach the disk.

        Args:
            beneath: How paths below a root are reached, instead of the best way there is here.
            notices: Who is told of what this disk cannot do, and of what is left alone.
        """
        self._beneath = beneath or Beneath()
        self.notices = notices or Notices()

    def guard(self, root: Path) -> None:
        """Follow no link below a directory any more; see :meth:`modelfetch.store.beneath.Beneath.guard`."""
        self._beneath.guard(root)

    def steady(self, *, only_looks: bool = False) -> AbstractContextManager[None]:
        """A block with many operations in few directories, as :meth:`.Beneath.steady` has it."""
        return self._beneath.steady(only_looks=only_looks)

    def pin(self, path: Path) -> Callable[[], None]:
        """Hold a directory open, as :meth:`.Beneath.pin` has it; what is returned lets go of it."""
        return self._must("open", path, lambda: self._beneath.pin(path))

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:  # noqa: ARG002
        """Carry out one operation; the point where tests let it fail instead."""
        return call()

    def _must(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        try:
            return self.perform(operation, path, call)
        except OSError as error:
            raise self._refusal(error, operation, path) from error

    def _may(self, operation: str, path: Path, call: Callable[[], T], expected: Collection[int]) -> T | None:
        """Like ``_must``, but None for an expected errno."""
        try:
            return self.perform(operation, path, call)
        except OSError as error:
            if error.errno in expected:
                return None
            raise self._refusal(error, operation, path) from error

    def _try(self, operation: str, path: Path, call: Callable[[], object], expected: Collection[int]) -> bool:
        """Like ``_must``, but whether it was done instead of what it gave."""
        try:
            self.perform(operation, path, call)
        except OSError as error:
            if error.errno in expected:
                return False
            raise self._refusal(error, operation, path) from error
        return True

    def _at(self, path: Path, call: Callable[[str, int | None], T]) -> Callable[[], T]:
        """An operation on a name in its directory, wherever that is by the time it is carried out."""
        return partial(self._beneath.at, path, call)

    def _refusal(self, error: OSError, operation: str, path: Path) -> StoreError:
        if error.errno == errno.ENOSPC and not self.has_inodes(path):
            return refusal(error, operation, path, NO_INODES)
        return refusal(error, operation, path)

    def _between(
        self, source: Path, target: Path, call: Callable[[str, int | None, str, int | None], None]
    ) -> Callable[[], None]:
        """An operation on two names, each in its directory."""
        return self._at(
            source, lambda name, at: self._beneath.at(target, lambda new, there: call(name, at, new, there))
        )

    def has_inodes(self, path: Path) -> bool:
        """Whether an ordinary user can make another file beside this one; True where that is not known."""
        if sys.platform != "win32":
            with suppress(OSError):
                found = os.statvfs(path.parent)
                return not found.f_files or found.f_favail > 0  # Btrfs counts none
        return True
