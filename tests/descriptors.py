"""A process that may open no more files, as one whose clients have used up its descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import pytest

from modelfetch.store.dir_handles import HANDLES

_LIMIT: Final = 16
"""The limit meanwhile; not 0, as no more than so many sockets may be waited for at a time (poll(2))."""


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let every attempt to open a file fail with EMFILE until the end of the block.

    What is open stays open. Modules that the block needs must be imported before it.
    """
    resource = pytest.importorskip("resource", reason="POSIX limits")
    HANDLES.drop()  # directories that are kept open for later, which would make way
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_LIMIT, before[1]))
    spare: list[int] = []
    try:
        with suppress(OSError):  # until none below the limit is left
            while True:
                spare.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in spare:
            os.close(fd)
