"""Uploads one blob to a registry, and continues where a connection was cut.

A small blob is sent in one request, a large one in chunks. After a failure the registry is asked what it has
of the blob, and the next chunk begins there. So a connection that is cut costs at most one chunk. Some
registries discard the upload then (distribution 2 and 3 do if the cut was inside of a chunk): the blob begins
anew, the others stay::

    POST, PATCH 0-33554431, PATCH 33554432-..., cut, GET: 0-50331647, PATCH 50331648-..., PUT

Not every registry takes chunks: ghcr.io refuses those above 4 MiB with 416, and Amazon ECR states a wrong
``Range`` after the second one. Where answers contradict each other, the blob is sent again in one request.

Every byte is hashed while it is read, and the upload is ended only if the digest is right. So bytes that are
damaged in the cache never become a blob of the registry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from modelfetch.errors import Fault, IntegrityError, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.registry_uploads import RangeRefused, UploadLost
from modelfetch.net.retry import RESET_BYTES

if TYPE_CHECKING:
    from modelfetch.bundle.upload_notes import UploadNotes
    from modelfetch.net.hub_client import HubClient
    from modelfetch.net.outgoing import Piece
    from modelfetch.net.registry_uploads import RegistryUploads, Upload

SMALL: Final = 4 << 20
"""Largest blob, in bytes, that is sent in one request. It is held in memory, so that its digest is known
before its first byte is sent. Chunks need two more requests, which cost more than sending it again does."""
CHUNK: Final = 32 << 20
"""Bytes of a chunk. That is what a cut connection costs at most; a request for each 32 MiB adds little to the
time even over distant connections; and proxies that limit the body of a request allow more (Cloudflare:
100 MB)."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob to be pushed."""

    sha256: str
    size: int
    path: str
    """The file, for people."""
    read: Callable[[], Iterator[Piece]]
    """Reads it from its beginning."""
    damaged: Callable[[], IntegrityError]
    """Makes the error for other bytes than the digest says."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Callbacks for what happens during a push."""

    progress: Callable[[str, int, int], None] = lambda *_: None
    """Gets the path of a file, the bytes of it that the registry has, and its size."""
    note: Callable[[str], None] = lambda _: None
    """Gets a line for the user."""


@dataclass(slots=True)
class Sent:
    """How a blob was uploaded."""

    sent: int = 0
    """Bytes that were sent; more than its size if some had to be sent again."""
    continued_at: int = 0
    """Bytes that the registry had from an earlier push that was interrupted."""


class HashedBlob:
    """The bytes of a blob in parts, all of them hashed on the way.

    Args:
        blob: The blob.
    """

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._begin()

    def _begin(self) -> None:
        self._pieces = self._blob.read()
        self._rest = memoryview(b"")
        self._position = 0
        self._hasher = hashlib.sha256()

    def part(self, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from ``start`` to ``end``; each piece is valid until the next.

        A part that begins earlier than the last one ended is read and hashed from the beginning of the blob:
        a hash cannot go back.

        Raises:
            IntegrityError: The blob is shorter.
            StoreError: The disk cannot read it.
        """
        if start < self._position:
            self._begin()
        for _ in self._until(start):  # what the registry has already is hashed, but not sent
            pass
        yield from self._until(end)

    def whole(self) -> Iterator[Piece]:
        """Yield all bytes, the last piece only if the digest is right: else the request ends too early.

        Raises:
            IntegrityError: They are not those of the digest.
            StoreError: The disk cannot read it.
        """
        held = b""
        for piece in self.part(0, self._blob.size):
            if held:
                yield held
            held = bytes(piece)  # a copy: the piece is valid until the next one is read
        self.verify()
        yield held

    def verify(self) -> None:
        """Check that all bytes were read, and that they have the digest of the blob.

        Raises:
            IntegrityError: They do not.
        """
        blob = self._blob
        for _ in self._until(blob.size):
            pass
        has_more = bool(self._rest) or next(self._pieces, None) is not None
        if has_more or self._hasher.hexdigest() != blob.sha256:
            raise blob.damaged()

    def _until(self, end: int) -> Iterator[memoryview]:
        while self._position < end:
            piece = self._rest or memoryview(next(self._pieces, b""))
            if not piece:
                raise self._blob.damaged()
            taken = piece[: end - self._position]
            self._rest = piece[len(taken) :]
            self._hasher.update(taken)
            self._position += len(taken)
            yield taken


class BlobUpload:
    """Uploads one blob to a repository that does not have it.

    Args:
        uploads: The repository.
        hub: Waits between attempts.
        notes: What earlier pushes noted about their uploads.
        blob: The blob.
        watch: Is shown how it goes.
    """

    def __init__(
        self, uploads: RegistryUploads, hub: HubClient, notes: UploadNotes, blob: Blob, watch: Watch
    ) -> None:
        self._uploads = uploads
        self._hub = hub
        self._notes = notes
        self._blob = blob
        self._watch = watch
        self._bytes = HashedBlob(blob)
        self._sent = Sent()
        self._is_whole = False
        """Whether it is sent in one request, since the registry cannot take chunks."""
        self._failures = 0
        self._counted = 0
        """Bytes that the registry had when an attempt last counted as the first one."""

    def run(self) -> Sent:
        """Upload the blob.

        Raises:
            IntegrityError: Its bytes are not those of its digest, or the registry stored something else.
            StoreError: The disk cannot read it.
            SourceError: The registry cannot take it.
            Cancelled: The run was cancelled.
        """
        if self._blob.size <= SMALL:
            self._send_at_once()
        else:
            self._send_in_chunks()
        self._watch.progress(self._blob.path, self._blob.size, self._blob.size)
        return self._sent

    def _send_at_once(self) -> None:
        blob = self._blob
        # Copies: `join` takes all pieces before it reads any, and each is valid until the next only.
        content = b"".join(bytes(piece) for piece in self._bytes.part(0, blob.size))
        self._bytes.verify()
        while True:
            try:
                upload = self._uploads.begin()
                self._sent.sent += blob.size
                self._uploads.finish(upload, blob.sha256, blob.size, lambda: [content])
            except SourceError as error:
                self._wait(error, 0)
                if not self._uploads.has_blob(blob.sha256, blob.size):  # else only the answer was lost
                    continue
            return

    def _send_in_chunks(self) -> None:
        blob, uploads = self._blob, self._uploads
        upload, position = self._earlier() or (self._begin(), 0)
        self._sent.continued_at = self._counted = position
        while True:
            try:
                while position < blob.size and not self._is_whole:
                    upload, position = self._send_chunk(upload, position)
                self._finish(upload)
            except IntegrityError:
                uploads.cancel(upload)
                self._notes.forget(uploads.repository, blob.sha256)
                raise
            except SourceError as error:
                self._wait(error, position)
                if uploads.has_blob(blob.sha256, blob.size):  # only the answer to the last request was lost
                    break
                upload, position = self._state(upload, error, position)
                where = f"continuing at byte {position} of {blob.size}" if position else "beginning anew"
                self._watch.note(f"{blob.path}: {error.message}; {where}")
            else:
                break
        self._notes.forget(uploads.repository, blob.sha256)

    def _send_chunk(self, upload: Upload, start: int) -> tuple[Upload, int]:
        blob = self._blob
        end = min(start + max(CHUNK, upload.least_chunk), blob.size)
        following, position = self._uploads.append(
            upload, start, end, lambda: self._sending(self._bytes.part(start, end), start)
        )
        if position != end:
            raise RangeRefused(Fault.PROTOCOL, "states another end than that of the chunk", retry=True)
        self._notes.save(self._uploads.repository, blob.sha256, following)
        return following, position

    def _finish(self, upload: Upload) -> None:
        """End an upload: of chunks, or with the whole blob."""
        blob = self._blob
        if self._is_whole:
            self._uploads.finish(
                upload, blob.sha256, blob.size, lambda: self._sending(self._bytes.whole(), 0)
            )
        else:
            self._bytes.verify()
            self._uploads.finish(upload, blob.sha256, blob.size)

    def _sending(self, pieces: Iterable[Piece], position: int) -> Iterator[Piece]:
        """Pass on pieces of the blob, from a position on; count and report each one that was sent."""
        for piece in pieces:
            yield piece
            # Control returns here when the connection has taken the piece.
            position += len(piece)
            self._sent.sent += len(piece)
            self._watch.progress(self._blob.path, position, self._blob.size)

    def _earlier(self) -> tuple[Upload, int] | None:
        """The upload of an earlier push that was interrupted, if the registry still has it."""
        found = self._notes.load(self._uploads.repository, self._blob.sha256)
        if found is None:
            return None
        try:
            return self._uploads.status(found, self._blob.size)
        except UploadLost:
            self._notes.forget(self._uploads.repository, self._blob.sha256)
            return None

    def _state(self, upload: Upload, error: SourceError, position: int) -> tuple[Upload, int]:
        """Where to continue after a failure; at the beginning of a new upload if this one is lost."""
        # A registry that loses an upload without a cut, or cannot end it twice, takes no chunks. At first the
        # end is only repeated: a proxy may not have waited until the registry had hashed the blob.
        is_refused_again = error.fault is Fault.SERVER and self._failures > 1
        is_confused = isinstance(error, UploadLost) or (position == self._blob.size and is_refused_again)
        self._is_whole = self._is_whole or is_confused
        if not self._is_whole:
            with suppress(UploadLost):
                following, received = self._uploads.status(upload, self._blob.size)
                if not isinstance(error, RangeRefused) or received != position:
                    return following, received
                self._is_whole = True
        self._counted = 0
        return self._begin(), 0

    def _begin(self) -> Upload:
        upload = self._uploads.begin()
        self._notes.save(self._uploads.repository, self._blob.sha256, upload)
        return upload

    def _wait(self, error: SourceError, position: int) -> None:
        """Wait before the next attempt; raise the error if there is none."""
        self._failures += 1
        if position - self._counted >= RESET_BYTES:
            self._counted, self._failures = position, 1
        self._hub.wait(error, self._failures, self._uploads.repository.endpoint)
