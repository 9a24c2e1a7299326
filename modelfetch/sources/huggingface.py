"""Hugging Face: files of a repository at the pinned commit.

The URLs are those of the Hub API, at the configured endpoint. Example::

    https://huggingface.co/datasets/org/name/resolve/<commit>/data/train.parquet
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from modelfetch.model.source_kinds import SourceKind
from modelfetch.net.credentials import Credential
from modelfetch.net.urls import quote_path
from modelfetch.sources.base import HostAddress, HttpOffer, Offer, RegisteredSource, SourceContext

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest
    from modelfetch.net.client import Client
    from modelfetch.settings import Settings

# URLs of repositories that are not models have a prefix (Hub API, "resolve").
_PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}

_WANTED = "Set HF_TOKEN to a token that may read it, and accept the terms on its page."
_REFUSED = (
    "The token of HF_TOKEN (or of the token file) was refused: it is wrong, has expired, or does not "
    "give access. Renew it, accept the terms on the page, or unset it for public files."
)


class HuggingFaceSource(RegisteredSource):
    """The repository that a manifest pins.

    Args:
        client: HTTP client of the run.
        endpoint: URL of the Hub or of a mirror of it (``HF_ENDPOINT``).
        token: Access token; sent to the origin of the endpoint only, not to targets of redirects.
    """

    kind = SourceKind.HUGGINGFACE

    def __init__(self, client: Client, endpoint: str, token: str | None) -> None:
        self._client = client
        self._endpoint = endpoint.rstrip("/")
        self._credential = Credential.bearer(self._endpoint, token) if token else None

    @classmethod
    def from_context(cls, context: SourceContext) -> HuggingFaceSource:
        """Use the endpoint of the settings and the user's token."""
        loaded = context.loaded
        token = loaded.hf_token.reveal() if loaded.hf_token is not None else None
        return cls(context.client, loaded.settings.huggingface.endpoint, token)

    @classmethod
    def configured_hosts(cls, settings: Settings) -> Iterator[HostAddress]:
        """The endpoint in settings."""
        yield HostAddress.root_of(settings.huggingface.endpoint)

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """One offer if the manifest names a repository, else none."""
        if manifest.huggingface is None:
            return []
        url = resolve_url(self._endpoint, manifest.huggingface, file)
        refused = _WANTED if self._credential is None else _REFUSED
        return [HttpOffer(self.kind, url, file.size, self._client, self._credential, refused)]


def cache_folder(repo: HuggingFaceRepo) -> str:
    """Directory name of a repository in the cache of the Hugging Face libraries: ``models--org--name``."""
    return f"{repo.type}s--{repo.repo.replace('/', '--')}"


def resolve_url(endpoint: str, repo: HuggingFaceRepo, file: FileSpec) -> str:
    """The URL of a file at the pinned commit."""
    return file_url(endpoint, repo, file.huggingface_path or file.path)


def file_url(endpoint: str, repo: HuggingFaceRepo, path: str) -> str:
    """The URL of a path in a repository at the pinned commit."""
    return f"{page_url(endpoint, repo)}/resolve/{repo.revision}/{quote_path(path)}"


def page_url(endpoint: str, repo: HuggingFaceRepo) -> str:
    """The URL of the page of a repository."""
    return f"{endpoint}/{_PREFIXES[repo.type]}{repo.repo}"
