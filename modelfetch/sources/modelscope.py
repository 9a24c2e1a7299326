"""ModelScope: files of a repository at a branch or tag.

Commits cannot be addressed reliably there, so the address names a branch or tag, whose files may change after
they were pinned. The digest decides, as for every source; other bytes mean that the branch moved. Example::

    https://modelscope.cn/api/v1/models/org/name/repo?Revision=master&FilePath=onnx%2Fmodel.onnx
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from modelfetch.errors import Fault, SourceError
from modelfetch.model.source_kinds import SourceKind
from modelfetch.net.credentials import Credential
from modelfetch.net.urls import quote_path
from modelfetch.sources.base import HostAddress, HttpOffer, Offer, RegisteredSource, SourceContext

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest, ModelScopeRepo
    from modelfetch.net.client import Client
    from modelfetch.settings import Settings

_WANTED = "Set MODELSCOPE_API_TOKEN to a token that may read it, and accept the terms on its page."
_REFUSED = (
    "The token of MODELSCOPE_API_TOKEN was refused: it is wrong, has expired, or does not give access. "
    "Renew it, or unset it for public files."
)


class ModelScopeSource(RegisteredSource):
    """The ModelScope repository that a manifest names.

    Args:
        client: HTTP client of the run.
        endpoint: Base address (``MODELSCOPE_ENDPOINT``).
        token: Access token; sent to the origin of the endpoint only, not to targets of redirects.
    """

    kind = SourceKind.MODELSCOPE

    def __init__(self, client: Client, endpoint: str, token: str | None) -> None:
        self._client = client
        self._endpoint = endpoint.rstrip("/")
        self._credential = Credential.bearer(self._endpoint, token) if token else None

    @classmethod
    def from_context(cls, context: SourceContext) -> ModelScopeSource:
        """Use the endpoint of the settings and the user's token."""
        loaded = context.loaded
        token = loaded.ms_token.reveal() if loaded.ms_token is not None else None
        return cls(context.client, loaded.settings.modelscope.endpoint, token)

    @classmethod
    def configured_hosts(cls, settings: Settings) -> Iterator[HostAddress]:
        """The endpoint in settings."""
        yield HostAddress.root_of(settings.modelscope.endpoint)

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """One offer if the manifest names a repository, else none."""
        if manifest.modelscope is None:
            return []
        url = contents_url(self._endpoint, manifest.modelscope, file.path)
        refused = _WANTED if self._credential is None else _REFUSED
        return [_BranchOffer(self.kind, url, file.size, self._client, self._credential, refused)]


class _BranchOffer(HttpOffer):
    """A file at a branch, whose size says something if it is not the pinned one."""

    def _advise(self, error: SourceError) -> None:
        super()._advise(error)
        if error.fault is Fault.SIZE:
            error.message += ": the branch has probably moved since it was pinned"


def contents_url(endpoint: str, repo: ModelScopeRepo, path: str) -> str:
    """The URL of the bytes of a file."""
    where = f"{endpoint}/api/v1/{repo.type}s/{quote_path(repo.repo)}/repo"
    return f"{where}?Revision={quote(repo.revision, safe='')}&FilePath={quote(path, safe='')}"
