"""Writes blobs and manifests to a repository of an OCI registry (OCI distribution specification 1.1, push).

Each method is one step; retries of whole uploads are the caller's. A blob is uploaded in these steps::

    HEAD  /v2/NAME/blobs/sha256:HEX                   200: it is there already
    POST  /v2/NAME/blobs/uploads/                     202, Location: where the upload continues
    PATCH <Location>, Content-Range: 0-33554431       202, Location, Range: 0-33554431
    GET   <Location>                                  204, Location, Range: what the registry has of it
    PUT   <Location>?digest=sha256:HEX                201

``Location`` may be relative and may have a query; each answer replaces the one before. It may name another
host, such as an object store. The rules are those of redirects of downloads: no plain http except for a
registry on this machine, no way from the public internet into a private network, and credentials go to the
registry's own origin only. Such a host may not ask for credentials either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from modelfetch.errors import Fault, IntegrityError, SourceError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.registry_documents import OCI_MANIFEST, text
from modelfetch.model.text import sanitize
from modelfetch.net.hub_client import refused
from modelfetch.net.outgoing import Outgoing
from modelfetch.net.registry_urls import is_loopback
from modelfetch.net.urls import host_of, is_secure, origin, redirect_target

if TYPE_CHECKING:
    from modelfetch.net.answers import Answer
    from modelfetch.net.credentials import Credential
    from modelfetch.net.hub_client import HubClient
    from modelfetch.net.outgoing import Piece
    from modelfetch.net.registry_auth import RegistryAuth
    from modelfetch.net.registry_urls import RegistryRepository

_ANSWER_BYTES: Final = 64 * 1024
"""Most bytes read of the body of an answer; errors have a few hundred."""
_RANGE: Final = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
"""The specification has no unit here, unlike HTTP; some registries send one."""
_CHUNK_MINIMUM: Final = re.compile(r"[0-9]{1,12}")
_COMMIT_SPEED: Final = 50_000_000
"""Bytes per second at which a registry reads a blob again before it answers the last request. distribution
does so after an upload in chunks (registry/storage/blobwriter.go); a hard disk reads about 100 MB/s."""
_WORDS: Final = {
    "BLOB_UPLOAD_INVALID": "the upload is not valid any more",
    "BLOB_UPLOAD_UNKNOWN": "the upload is not known any more",
    "DENIED": "access refused",
    "DIGEST_INVALID": "received other bytes than were sent",
    "MANIFEST_BLOB_UNKNOWN": "a blob of the manifest is missing",
    "MANIFEST_INVALID": "does not take such a manifest",
    "NAME_INVALID": "does not take such a name of a repository",
    "NAME_UNKNOWN": "there is no such repository",
    "SIZE_INVALID": "received another number of bytes than were sent",
    "UNSUPPORTED": "does not take uploads",
}
"""Words for the codes of errors in the OCI distribution specification."""


class UploadLost(SourceError):  # noqa: N818 - describes the upload, not only the failure
    """The registry does not know the upload any more; it must begin anew."""


class RangeRefused(SourceError):  # noqa: N818 - describes the upload, not only the failure
    """A chunk does not begin where the registry's part of the blob ends (416)."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that has begun."""

    url: str
    """Where it continues. It may contain a signature: never show it."""
    public_only: bool = False
    """Whether a server of the public internet named another host, which must then be public, too."""
    least_chunk: int = 0
    """Least bytes of each chunk but the last (``OCI-Chunk-Min-Length``)."""
    is_named: bool = True
    """Whether the registry named the address."""


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    headers: Mapping[str, str]
    is_public: bool


class RegistryUploads:
    """Writes to one repository.

    Args:
        hub: Sends the requests.
        auth: Credentials of the run, with which repositories may be written to.
        repository: The repository.
    """

    def __init__(self, hub: HubClient, auth: RegistryAuth, repository: RegistryRepository) -> None:
        self._hub = hub
        self._auth = auth
        self.repository = repository

    def has_blob(self, sha256: str, size: int) -> bool:
        """Whether the repository has a blob of this digest and size.

        Raises:
            SourceError: The registry did not say.
            Cancelled: The run was cancelled.
        """
        found = self._head(self.repository.blob_url(sha256), "*/*")
        return found is not None and found.get("content-length", str(size)).strip() == str(size)

    def manifest_digest(self, reference: str) -> str | None:
        """Digest of a manifest by tag or digest; None if there is none, empty if it is not stated."""
        found = self._head(self.repository.manifest_url(reference), OCI_MANIFEST)
        return None if found is None else found.get("docker-content-digest", "").strip()

    def begin(self) -> Upload:
        """Begin an upload; raises like :meth:`has_blob`."""
        first = Upload(self.repository.uploads_url, is_named=False)
        return self._hub.retried(first.url, lambda: self._step(first, Outgoing("POST"), (202,))[0])

    def append(
        self, upload: Upload, start: int, end: int, pieces: Callable[[], Iterable[Piece]]
    ) -> tuple[Upload, int]:
        """Send a chunk, once.

        Args:
            upload: The upload.
            start: Position of the first byte in the blob.
            end: Position after the last one.
            pieces: Returns the bytes.

        Returns:
            The upload as it continues, and how many bytes of the blob the registry has.

        Raises:
            RangeRefused: The chunk does not begin where the registry's part ends.
            UploadLost: The registry does not know the upload.
            SourceError: The request failed; the registry may have some of the bytes.
            Cancelled: The run was cancelled.
        """
        fields = {"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{end - 1}"}
        following, reply = self._step(upload, Outgoing("PATCH", fields, end - start, pieces), (202, 201, 204))
        # A registry that does not state what it has got must have got all: a digest ends the upload.
        received = _received(reply.headers)
        return following, end if received is None else _checked(received, end)

    def status(self, upload: Upload, size: int) -> tuple[Upload, int]:
        """Ask how many bytes of a blob of ``size`` bytes the registry has.

        Raises:
            UploadLost: The registry does not know the upload, or does not say.
            SourceError: The registry did not answer.
            Cancelled: The run was cancelled.
        """
        following, reply = self._hub.retried(
            upload.url, lambda: self._step(upload, Outgoing("GET"), (204, 200, 202))
        )
        received = _received(reply.headers)
        if received is None:
            raise UploadLost(Fault.PROTOCOL, "does not say how much it has received", retry=True)
        return following, _checked(received, size)

    def finish(
        self,
        upload: Upload,
        sha256: str,
        size: int,
        pieces: Callable[[], Iterable[Piece]] | None = None,
    ) -> None:
        """End an upload; the registry then verifies the digest.

        Args:
            upload: The upload.
            sha256: Digest of the blob.
            size: Size of the blob in bytes.
            pieces: Returns the whole blob, if no chunk was sent.

        Raises:
            IntegrityError: The registry stored something else.
            UploadLost: The registry does not know the upload, or has received other bytes.
            SourceError: The request failed.
            Cancelled: The run was cancelled.
        """
        parts = urlsplit(upload.url)
        query = "&".join(filter(None, (parts.query, f"digest=sha256:{sha256}")))
        last = replace(upload, url=urlunsplit(parts._replace(query=query)))
        fields = {"Content-Type": "application/octet-stream"}
        length = 0 if pieces is None else size
        outgoing = Outgoing("PUT", fields, length, pieces or tuple, size / _COMMIT_SPEED)
        reply = self._exchange(last, outgoing, (201, 200, 204))
        self._check_digest(reply, sha256, "blob")

    def cancel(self, upload: Upload) -> None:
        """Discard an upload. A registry that does not is left with a part that it discards later."""
        try:
            self._exchange(upload, Outgoing("DELETE"), (204, 200, 202))
        except SourceError:
            return

    def put_manifest(self, tag: str, body: bytes, sha256: str) -> None:
        """Store a manifest under a tag, and check that the registry has it by its digest.

        Raises:
            IntegrityError: The registry stored something else.
            SourceError: The request failed.
            Cancelled: The run was cancelled.
        """
        place = Upload(self.repository.manifest_url(tag), is_named=False)
        outgoing = Outgoing("PUT", {"Content-Type": OCI_MANIFEST}, len(body), lambda: [body])
        reply = self._hub.retried(place.url, lambda: self._exchange(place, outgoing, (201, 200)))
        self._check_digest(reply, sha256, "manifest")
        # Asked again if the answer did not say it: else nothing shows that the manifest has these bytes.
        if (
            not reply.headers.get("docker-content-digest")
            and self.manifest_digest(f"sha256:{sha256}") is None
        ):
            raise IntegrityError(
                f"{sanitize(self.repository.registry)} does not have the manifest that it accepted",
                hint="The registry, or a proxy before it, is damaged: try again, or use another one.",
            )

    def is_own(self, url: str) -> bool:
        """Whether an address is at the registry's own origin, which gets credentials."""
        return origin(url) == origin(self.repository.endpoint)

    def _check_digest(self, reply: _Reply, sha256: str, what: str) -> None:
        stated = reply.headers.get("docker-content-digest", "").strip()
        if stated.startswith("sha256:") and stated != f"sha256:{sha256}":
            raise IntegrityError(
                f"{sanitize(self.repository.registry)} stored a {what} as {sanitize(stated)[:80]}, not "
                f"sha256:{sha256}",
                hint="The registry, or a proxy before it, is damaged: try again, or use another one.",
            )

    def _head(self, url: str, accept: str) -> Mapping[str, str] | None:
        """The header fields of what is at an address; None if there is nothing."""

        def request(credential: Credential | None) -> Mapping[str, str] | None:
            with self._hub.client.open(url, {"Accept": accept}, credential, head=True) as answer:
                answer.read(_ANSWER_BYTES)  # to its end, so that the connection can be used again
                if answer.status == 404:
                    return None
                if answer.status != 200:
                    raise refused(answer)
                return answer.headers

        return self._hub.retried(url, lambda: self._auth.send(self.repository, request))

    def _step(self, upload: Upload, outgoing: Outgoing, accepted: Collection[int]) -> tuple[Upload, _Reply]:
        """Send a request of an upload; its answer says where the upload continues."""
        reply = self._exchange(upload, outgoing, accepted)
        least = reply.headers.get("oci-chunk-min-length", "").strip()
        chunk = int(least) if _CHUNK_MINIMUM.fullmatch(least) else upload.least_chunk
        location = reply.headers.get("location", "")
        if not location and outgoing.method != "POST":
            return replace(upload, least_chunk=chunk), reply  # as some registries answer to GET
        url = self._target(upload.url, location)
        is_bound = upload.public_only or (reply.is_public and not self.is_own(url))
        return Upload(url, is_bound, chunk), reply

    def _target(self, url: str, location: str) -> str:
        """Check where an upload continues.

        Raises:
            SourceError: Nothing may be sent there.
        """
        if not location:
            raise SourceError(Fault.PROTOCOL, "began an upload without saying where it continues (Location)")
        try:
            target = redirect_target(url, location.encode("utf-8", "surrogateescape"))
        except SourceError as error:
            hint = (
                "The registry may not know that it is reached over https: check its address in its settings."
            )
            message = error.message.replace("a redirect", "an upload that continues at another address:", 1)
            raise SourceError(error.fault, message, hint=hint) from error
        if not is_secure(target) and not is_loopback(origin(target)[1]):
            raise SourceError(Fault.REDIRECT, f"continues an upload without TLS ({host_of(target)})")
        return target

    def _exchange(self, upload: Upload, outgoing: Outgoing, accepted: Collection[int]) -> _Reply:
        """Send one request, with the credential that the registry asks for."""
        request = partial(self._request, upload, outgoing, accepted)
        if not self.is_own(upload.url):
            # Not through the credentials: a 401 of another host must not cause a request for a token.
            try:
                return request(None)
            except SourceError as error:
                error.elsewhere = host_of(upload.url)
                raise
        return self._auth.send(self.repository, request)

    def _request(
        self, upload: Upload, outgoing: Outgoing, accepted: Collection[int], credential: Credential | None
    ) -> _Reply:
        send = partial(self._hub.client.send, public_only=upload.public_only, is_named=upload.is_named)
        with send(upload.url, outgoing, credential) as answer:
            if answer.status not in accepted:
                raise _refusal(answer, outgoing.method)
            answer.read(_ANSWER_BYTES)  # to its end, so that the connection can be used again
            return _Reply(answer.status, answer.headers, answer.is_public)


def _refusal(answer: Answer, method: str) -> SourceError:
    """The error for a status; its body may say more."""
    error = refused(answer)
    code = _code_of(answer)
    word = _WORDS.get(code, "")
    if answer.status == 416:
        return RangeRefused(Fault.PROTOCOL, "refused the position of a chunk (416)", retry=True)
    if answer.status == 413:
        hint = "A proxy before the registry may limit requests, as nginx does (client_max_body_size)."
        return SourceError(Fault.PROTOCOL, "does not take so much at once (413)", hint=hint)
    # Some registries take no chunks, or do not say what they have (specification 1.0 had no such request).
    is_lost = method in ("PATCH", "GET") and error.fault in (Fault.NOT_FOUND, Fault.PROTOCOL)
    is_lost = is_lost or code.startswith("BLOB_UPLOAD_")
    if is_lost or code in ("DIGEST_INVALID", "SIZE_INVALID"):
        return UploadLost(Fault.PROTOCOL, f"{word or 'the upload is lost'} ({answer.status})", retry=True)
    if word and error.fault not in (Fault.AUTHORIZATION, Fault.BUSY, Fault.SERVER):
        return SourceError(error.fault, f"{word} ({answer.status})")
    if 300 <= answer.status < 400:
        return SourceError(Fault.REDIRECT, f"redirects an upload ({answer.status}), which is not followed")
    return error


def _code_of(answer: Answer) -> str:
    """The code of an error, in upper case; empty if the body has none."""
    try:
        return text(answer.json(_ANSWER_BYTES)["errors"][0]["code"]).upper()
    except (SourceError, LookupError, TypeError):
        return ""


def _received(headers: Mapping[str, str]) -> int | None:
    """How many bytes a registry has (``Range: 0-N``); None if it does not say.

    ``0-0`` is taken as none: distribution answers so to a new upload, and no chunk has one byte.
    """
    found = _RANGE.fullmatch(headers.get("range", "").strip())
    if found is None:
        return None
    last = int(found[1])
    return last + 1 if last else 0


def _checked(received: int, most: int) -> int:
    if received > most:
        raise UploadLost(Fault.PROTOCOL, "claims to have more bytes than were sent", retry=True)
    return received
