"""Objects in an object store, whose digests nobody states: they are computed from the bytes.

A reference that ends with a slash stands for all objects below that prefix. Any other one is an object, or
the prefix of that name if there is no such object::

    s3://models/whisper/base.bin    one file, "base.bin"
    s3://models/whisper/            "base.bin", "onnx/encoder.onnx", ...

Object stores state an MD5 or nothing, and Amazon S3 a SHA-256 only where the writer asked for one, of parts
instead of the object if it is large. So no digest of theirs is used. The tag of an object (ETag) is compared
while it is read, so that two versions of it are never mixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, cast

from modelfetch.errors import Fault, SourceError, UnknownModelError, UsageError
from modelfetch.lazy_dataclass import replace
from modelfetch.model.object_address import parse_object_url
from modelfetch.model.text import quote
from modelfetch.net.object_store import require_extra
from modelfetch.net.retry import RESET_BYTES
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.collect import MAX_FILES, FileCollector, failure

if TYPE_CHECKING:
    from modelfetch.model.object_address import ObjectAddress
    from modelfetch.model.reference import ObjectReference, Reference
    from modelfetch.net.hub_client import HubClient
    from modelfetch.net.object_store import StoredObject
    from modelfetch.upstreams.access import Access

_MOST_ENTRIES: Final = 2 * MAX_FILES
"""Most entries of a listing, with those of directories and repeated ones: a server could list without end."""


class Bucket:
    """Objects and prefixes of object stores.

    Args:
        hub: Waits between attempts, and has the client of the run.
    """

    def __init__(self, hub: HubClient) -> None:
        self._hub = hub

    @classmethod
    def from_access(cls, access: Access) -> Bucket:
        """Use the client of the run."""
        return cls(access.hub)

    def resolve(self, reference: Reference) -> Listing:
        """List the objects; see :meth:`.Upstream.resolve`."""
        require_extra()
        address = cast("ObjectReference", reference).address
        found = None if address.is_prefix else self._object(address)
        if found is not None:
            files: tuple[UpstreamFile, ...] = (_file(address, PurePosixPath(address.key).name, found),)
            name = PurePosixPath(address.key).stem
        else:
            prefix = replace(address, key=f"{address.key.rstrip('/')}/" if address.key else "")
            files = self._below(prefix)
            name = PurePosixPath(prefix.key).name or address.bucket
        return Listing(reference, revision="", files=files, stated_by="computed", name=name)

    @contextmanager
    def open(self, file: UpstreamFile) -> Iterator[Iterator[bytes]]:
        """Open an object; see :meth:`.Upstream.open`."""
        yield self._pieces(file)

    def _object(self, address: ObjectAddress) -> StoredObject | None:
        """The object of this name; None if there is none."""
        try:
            return self._hub.retried(address.text, lambda: self._hub.client.objects.head(address))
        except SourceError as error:
            if error.fault is Fault.NOT_FOUND:
                return None
            raise failure(error, address.text, f"read {quote(address.text)}") from error

    def _below(self, prefix: ObjectAddress) -> tuple[UpstreamFile, ...]:
        """The objects below a prefix."""
        try:
            found = self._hub.retried(prefix.text, lambda: self._listed(prefix))
        except SourceError as error:
            if error.fault is not Fault.NOT_FOUND:
                raise failure(error, prefix.text, f"list {quote(prefix.text)}") from error
            found = []
        files = FileCollector(prefix.text, hint="Add a prefix inside it.")
        for path, stored in _without_directories(prefix, found):
            files.add(_file(replace(prefix, key=stored.key), path, stored))
        if not files:
            raise UnknownModelError(
                f"there is no object at {quote(prefix.text.rstrip('/'))}, and none below it",
                hint="Check bucket and key; a key is case-sensitive.",
            )
        return files.finish()

    def _listed(self, prefix: ObjectAddress) -> list[StoredObject]:
        found: list[StoredObject] = []
        for page in self._hub.client.objects.list(prefix):
            found += page
            if len(found) > _MOST_ENTRIES:
                raise UsageError(
                    f"{quote(prefix.text)} has more than {MAX_FILES:,} objects, the limit of a manifest",
                    hint="Add a prefix inside it.",
                )
        return found

    def _pieces(self, file: UpstreamFile) -> Iterator[bytes]:
        """Yield the bytes of an object. A transfer that was cut continues where it ended."""
        from modelfetch.net.object_transfer import ObjectRange

        address = parse_object_url(file.fetch_url)
        size = file.size or 0
        received, counted, failures, etag = 0, 0, 0, ""
        while received < size:
            try:
                request = ObjectRange(received, size, etag=etag)
                with closing(self._hub.client.objects.open(address, request)) as body:
                    etag = etag or body.etag
                    for piece in body:
                        received += len(piece)
                        self._hub.received += len(piece)
                        yield bytes(piece)
            except SourceError as error:
                failures += 1
                if received - counted >= RESET_BYTES:
                    counted, failures = received, 1
                if received and not etag:  # nothing would show that the rest is of another version
                    raise failure(error, address.text, f"read {quote(file.path)}") from error
                try:
                    self._hub.wait(error, failures, address.text)
                except SourceError as last:
                    raise failure(last, address.text, f"read {quote(file.path)}") from last


def _without_directories(
    prefix: ObjectAddress, found: list[StoredObject]
) -> Iterator[tuple[str, StoredObject]]:
    """Yield the objects with their paths below the prefix, without empty ones that stand for directories.

    Consoles of object stores make such an object when a person makes a folder.
    """
    parents = {
        "/".join(parts[:end]) for each in found if (parts := each.key.split("/")) for end in range(len(parts))
    }
    for each in found:
        path = each.key.removeprefix(prefix.key)
        is_directory = each.size == 0 and (each.key in parents or each.key == prefix.key.rstrip("/"))
        if not is_directory and each.key.startswith(prefix.key):  # a store that lies lists others, too
            yield path, each


def _file(address: ObjectAddress, path: str, found: StoredObject) -> UpstreamFile:
    return UpstreamFile(path, found.size, None, fetch_url=address.text, urls=(address.text,))
