"""OCI registries: blobs of a repository, by the SHA-256 that the manifest pins.

A registry that requires a login gets one as in :mod:`modelfetch.net.registry_auth`, with the user's
credentials of container tools. Redirects to a CDN carry none. Example::

    https://ghcr.io/v2/org/model/blobs/sha256:<64 hexadecimal digits>
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from modelfetch.errors import Fault, SourceError
from modelfetch.model.source_kinds import SourceKind
from modelfetch.sources.base import HostAddress, HttpOffer, Offer, RegisteredSource, SourceContext
from modelfetch.sources.ipfs import Refusal

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.net.client import Client
    from modelfetch.net.credentials import Credential
    from modelfetch.net.registry_auth import RegistryAuth
    from modelfetch.net.registry_urls import RegistryRepository
    from modelfetch.settings.docker_credentials import RegistryLogin

T = TypeVar("T")


class OciSource(RegisteredSource):
    """The repository that a manifest names.

    Args:
        client: HTTP client of the run.
        make_auth: Makes the credentials of the run, once. Called late: few models are in a registry, and
            every run that finds its models present would load the code for logins.
    """

    kind = SourceKind.OCI

    def __init__(self, client: Client, make_auth: Callable[[], RegistryAuth]) -> None:
        self._client = client
        self._make_auth = make_auth
        self._auth: RegistryAuth | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_context(cls, context: SourceContext) -> OciSource:
        """Use the logins of the user's container tools, unless the run is anonymous."""

        def find(registry: str, repository: str) -> RegistryLogin | None:
            if not context.loaded.uses_logins:
                return None
            # Imported late: few runs meet a registry that requires a login.
            from modelfetch.settings.docker_credentials import RegistryLogins

            return RegistryLogins.of_user(os.environ, context.notice).find(registry, repository)

        def make_auth() -> RegistryAuth:
            from modelfetch.net.registry_auth import RegistryAuth

            return RegistryAuth(context.client, find)

        return cls(context.client, make_auth)

    @classmethod
    def manifest_hosts(cls, manifest: Manifest) -> Iterator[HostAddress]:
        """The registry of a manifest."""
        if (repository := _repository(manifest)) is not None:
            yield HostAddress(f"{repository.endpoint}/v2/")

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """One offer if the manifest names a repository, else none."""
        if manifest.oci is None:
            return []
        repository = _repository(manifest)
        if repository is None:
            error = SourceError(Fault.PROTOCOL, "the repository in the manifest is malformed")
            return [Refusal(self.kind, "manifest", error)]
        with self._lock:  # workers share the tokens of the run
            self._auth = self._auth or self._make_auth()
        return [OciOffer(repository, file, self._client, self._auth)]


class OciOffer(HttpOffer):
    """A blob of a registry.

    Args:
        repository: Repository of the blob.
        file: The file; its SHA-256 is the address of the blob.
        client: HTTP client of the run.
        auth: Credentials of the run.
    """

    def __init__(
        self, repository: RegistryRepository, file: FileSpec, client: Client, auth: RegistryAuth
    ) -> None:
        super().__init__(SourceKind.OCI, repository.blob_url(file.sha256), file.size, client)
        self._repository = repository
        self._auth = auth

    def _authorized(self, request: Callable[[Credential | None], T]) -> T:
        return self._auth.send(self._repository, request)


def _repository(manifest: Manifest) -> RegistryRepository | None:
    """The repository of a manifest; None if there is none, or it is malformed."""
    if not manifest.oci:
        return None
    from modelfetch.net.registry_urls import RegistryRepository

    try:
        return RegistryRepository.parse(manifest.oci)
    except ValueError:
        return None
