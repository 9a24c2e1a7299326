"""Computes the digests that an upstream does not state, from the bytes themselves, which are read once.

The bytes are kept: an intake makes them a blob of the cache, so that a later run fetches nothing for that
file. What was stated about a file is checked first, because bytes that differ from it are not the file::

    size      the bytes must have exactly that length
    git blob  SHA-1 over ``blob <size>``, a zero byte, and the bytes
    SHA-256   where it was stated after all
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from modelfetch.errors import IntegrityError
from modelfetch.model.text import quote
from modelfetch.store.intake import Digester, FileDigest

if TYPE_CHECKING:
    from modelfetch.store import Store
    from modelfetch.store.intake import Writer
    from modelfetch.upstreams.base import Upstream, UpstreamFile

Progress = Callable[["UpstreamFile", int], None]
"""Called with a file and the number of its bytes that were read so far."""

HINT: Final = (
    "The file may have changed while it was read: try again. If it happens again, do not trust this upstream."
)


class Digests(Protocol):
    """Computes digests of files of a listing."""

    def compute(self, upstream: Upstream, file: UpstreamFile) -> FileDigest:
        """Read a file and compute its digests.

        Raises:
            IntegrityError: The bytes differ from what the upstream states about the file.
            UnavailableError: The bytes cannot be read.
            AuthorizationError: Credentials are missing, wrong or insufficient.
            StoreError: The disk refused.
            Cancelled: The run was cancelled.
        """


class StoreDigests:
    """Computes digests, and keeps the bytes in a cache. Threads may share an instance.

    Args:
        store: The cache.
        progress: Called after each piece.
        keep: Whether the bytes become blobs; if not (``--dry-run``), nothing is written.
    """

    def __init__(self, store: Store, progress: Progress = lambda *_: None, *, keep: bool = True) -> None:
        self._store = store
        self._progress = progress
        self._keep = keep

    def compute(self, upstream: Upstream, file: UpstreamFile) -> FileDigest:
        """Read a file, check what was stated about it, and keep its bytes; see :class:`Digests`."""
        writer: Writer = self._store.intake(file.size) if self._keep else Digester(file.size)
        with writer, upstream.open(file) as pieces:
            received = 0
            for piece in pieces:
                received += len(piece)
                # At once, because a server could send without end.
                if file.size is not None and received > file.size:
                    raise _wrong(file, f"at least {received} bytes", f"{file.size} bytes")
                writer.write(piece)
                self._progress(file, received)
            check(file, writer.digest)
            return writer.finish()


def check(file: UpstreamFile, digest: FileDigest) -> None:
    """Compare a digest with what was stated about a file.

    Raises:
        IntegrityError: They differ; the message names both.
    """
    if file.size not in (None, digest.size):
        raise _wrong(file, f"{digest.size} bytes", f"{file.size} bytes")
    if file.git_blob is not None and digest.git_blob not in (None, file.git_blob):
        raise _wrong(file, f"git blob id {digest.git_blob}", file.git_blob)
    if file.sha256 not in (None, digest.sha256):
        raise _wrong(file, f"SHA-256 {digest.sha256}", str(file.sha256))


def _wrong(file: UpstreamFile, found: str, stated: str) -> IntegrityError:
    return IntegrityError(f"{quote(file.path)} has {found}, but {stated} was stated", hint=HINT)
