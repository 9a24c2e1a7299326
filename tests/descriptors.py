"""A process that may open no more files, as one whose clients have used up its descriptors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let every attempt to open a file fail with EMFILE until the end of the block.

    What is open stays open. Modules that the block needs must be imported before it.
    """
    resource = pytest.importorskip("resource", reason="POSIX limits")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
