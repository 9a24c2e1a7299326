"""Reads manifests and blobs of OCI registries, and checks them against their digests.

The requests are those of the OCI distribution specification::

    GET /v2/NAME/manifests/REFERENCE      by tag or digest
    GET /v2/NAME/blobs/sha256:HEX

``Accept`` names every type of manifest: some registries answer 404 to an OCI manifest otherwise. Failures
are translated to the errors that :class:`modelfetch.upstreams.base.Upstream` may raise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

from modelfetch.errors import (
    AuthorizationError,
    Fault,
    IntegrityError,
    ModelfetchError,
    SourceError,
    UnavailableError,
    UnknownModelError,
)
from modelfetch.model.decode import LIMIT
from modelfetch.model.registry_documents import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Document,
    text,
)
from modelfetch.model.text import media_type, quote, sanitize
from modelfetch.net.hub_client import refused
from modelfetch.net.registry_auth import RegistryAuth
from modelfetch.net.registry_urls import PLAIN_HINT, RegistryRepository

if TYPE_CHECKING:
    from modelfetch.net.answers import Answer
    from modelfetch.net.credentials import Credential
    from modelfetch.net.hub_client import HubClient
    from modelfetch.upstreams.base import UpstreamFile

T = TypeVar("T")

ACCEPT: Final = f"{OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}"
MANIFEST_BYTES: Final = 4 * 1024 * 1024
"""Largest manifest in bytes, as in oras-go; registries take up to 4 MiB (OCI distribution specification)."""
_ERROR_BYTES: Final = 16 * 1024
"""Most bytes read of the body of an error."""
_NO_TAG: Final = "there is no such tag or digest"
_WORDS: Final = {
    "NAME_UNKNOWN": "there is no such repository",
    "MANIFEST_UNKNOWN": _NO_TAG,
    "BLOB_UNKNOWN": "there is no such blob",
}
"""Words for the codes of errors in the OCI distribution specification."""


class RegistryApi:
    """Reads from registries.

    Args:
        hub: Sends the requests.
        auth: Credentials; None to send none, whatever a registry asks for.
    """

    def __init__(self, hub: HubClient, auth: RegistryAuth | None) -> None:
        self._hub = hub
        self._auth = auth
        self._repositories: dict[str, RegistryRepository] = {}

    def manifest(self, repository: RegistryRepository, reference: str, shown: str) -> Document:
        """Read a manifest or index.

        Args:
            repository: Its repository.
            reference: Tag, or ``sha256:`` and a digest.
            shown: Reference of the user, for messages.

        Raises:
            ModelfetchError: See :meth:`modelfetch.upstreams.base.Upstream.resolve`. IntegrityError if the
                bytes have another digest than the one asked for, or than the registry states.
        """
        with self._translated(repository, shown):
            url = repository.manifest_url(reference)
            answer, body = self._get(repository, url, ACCEPT, MANIFEST_BYTES)
        actual = hashlib.sha256(body).hexdigest()
        stated = answer.headers.get("docker-content-digest", "").strip()
        for expected in (reference, stated):
            if expected.startswith("sha256:") and expected != f"sha256:{actual}":
                raise IntegrityError(
                    f"{_host(repository)} sent a manifest whose digest is sha256:{actual}, not "
                    f"{sanitize(expected)[:80]}",
                    hint="The registry, or a proxy before it, is damaged: try again, or use another one.",
                )
        return _document(body, actual, answer, repository)

    def blob(self, repository: RegistryRepository, found: Descriptor, shown: str) -> bytes:
        """Read a small blob; raises like :meth:`manifest`."""
        with self._translated(repository, shown):
            _, body = self._get(repository, repository.blob_url(found.sha256), "*/*", found.size)
        actual = hashlib.sha256(body).hexdigest()
        if actual != found.sha256:
            raise IntegrityError(
                f"{_host(repository)} sent a blob whose digest is sha256:{actual}, not sha256:{found.sha256}"
            )
        return body

    def fetch_url(self, repository: RegistryRepository, sha256: str) -> str:
        """Address of a blob, from which :meth:`open` reads it."""
        url = repository.blob_url(sha256)
        self._repositories[url.rpartition(":")[0]] = repository
        return url

    @contextmanager
    def open(self, file: UpstreamFile) -> Iterator[Iterator[bytes]]:
        """Open a file of a listing; see :meth:`modelfetch.upstreams.base.Upstream.open`."""
        repository = self._repositories[file.fetch_url.rpartition(":")[0]]
        limit = LIMIT if file.size is None else file.size

        def begin(credential: Credential | None) -> Iterator[bytes]:
            pieces = self._hub.download(file.fetch_url, limit, credential=credential)
            return chain([next(pieces, b"")], pieces)  # the first piece shows whether the credential is good

        with self._translated(repository, quote(file.path)):
            yield self._send(repository, begin)

    def _get(self, repository: RegistryRepository, url: str, accept: str, limit: int) -> tuple[Answer, bytes]:
        def attempt(credential: Credential | None) -> tuple[Answer, bytes]:
            with self._hub.client.open(url, {"Accept": accept}, credential) as answer:
                if answer.status == 200:
                    return answer, answer.read(limit)
                raise _refused(answer)

        return self._hub.retried(url, lambda: self._send(repository, attempt))

    def _send(self, repository: RegistryRepository, request: Callable[[Credential | None], T]) -> T:
        return request(None) if self._auth is None else self._auth.send(repository, request)

    @contextmanager
    def _translated(self, repository: RegistryRepository, shown: str) -> Iterator[None]:
        """Translate failures of requests to errors for the user."""
        try:
            yield
        except SourceError as error:
            has_login = self._auth is not None and self._auth.has_login(repository)
            raise _translate(error, repository, shown, has_login=has_login) from error


def _translate(
    error: SourceError, repository: RegistryRepository, shown: str, *, has_login: bool
) -> ModelfetchError:
    host = _host(repository)
    is_login = error.fault is Fault.AUTHORIZATION
    if is_login and has_login:
        return AuthorizationError(f"{host} refused {shown}: {error.message}", hint=error.hint)
    if (
        error.message == _NO_TAG
    ):  # so no login is needed; some registries say this of unknown repositories, too
        hint = "Check the spelling of the repository and the tag."
        return UnknownModelError(f"{host} has no {shown}: {_NO_TAG}", hint=hint)
    if is_login or error.fault is Fault.NOT_FOUND:
        # Registries answer alike for repositories that do not exist and for private ones.
        login = f"`docker login {host}` or `podman login {host}` stores a login." if is_login else ""
        return UnknownModelError(
            f"{host} has no {shown}, or it is private and needs a login ({error.message})",
            hint=f"Check the spelling. {login}".rstrip(),
        )
    where = f"{host} ({error.elsewhere})" if error.elsewhere else host
    hint = PLAIN_HINT if error.fault is Fault.TLS else "Check the host and the network, or try again later."
    return UnavailableError(f"{where}: cannot resolve {shown}: {error.message}", hint=error.hint or hint)


def _host(repository: RegistryRepository) -> str:
    return sanitize(repository.registry)


def _refused(answer: Answer) -> SourceError:
    """The error for a status; a 404 says what is missing, if its body does."""
    error = refused(answer)
    if error.fault is not Fault.NOT_FOUND:
        return error
    try:
        document = answer.json(_ERROR_BYTES)
        word = _WORDS.get(text(document["errors"][0]["code"]), "")
    except (SourceError, LookupError, TypeError):
        word = ""
    return SourceError(Fault.NOT_FOUND, word or error.message)


def _document(body: bytes, sha256: str, answer: Answer, repository: RegistryRepository) -> Document:
    """Read the JSON of a manifest.

    Raises:
        UnavailableError: It is no manifest.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UnavailableError(f"{_host(repository)} sent a manifest that is not a JSON object")
    sent, own = media_type(answer.headers.get("content-type", "")), text(content.get("mediaType"))
    is_known = sent in MANIFESTS | INDEXES
    # A document that is read as another type than the one it was stored as may mean something else.
    if own and is_known and own != sent:
        raise UnavailableError(
            f"{_host(repository)} sent a manifest of type {quote(own)} as {quote(sent)}; it is not used"
        )
    return Document(sha256, own or (sent if is_known else ""), content)
