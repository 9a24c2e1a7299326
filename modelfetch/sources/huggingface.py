"""Hugging Face: files of a repository at the pinned commit.

The URLs are those of the Hub API, at the configured endpoint. Example::

    https://huggingface.co/datasets/org/name/resolve/<commit>/data/train.parquet
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelfetch.net.urls import Credential, quote_path
from modelfetch.sources.base import HttpOffer, Offer

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest
    from modelfetch.net.client import Client

# URLs of repositories that are not models have a prefix (Hub API, "resolve").
_PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}

_WANTED = "Set HF_TOKEN to a token that may read it, and accept the terms on its page."
_REFUSED = (
    "The token of HF_TOKEN (or of the token file) was refused: it is wrong, has expired, or does not "
    "give access. Renew it, accept the terms on the page, or unset it for public files."
)


class HuggingFaceSource:
    """The repository that a manifest pins.

    Args:
        client: HTTP client of the run.
        endpoint: URL of the Hub or of a mirror of it (``HF_ENDPOINT``).
        token: Access token; sent to the origin of the endpoint only, not to targets of redirects.
    """

    kind = "huggingface"

    def __init__(self, client: Client, endpoint: str, token: str | None) -> None:
        self._client = client
        self._endpoint = endpoint.rstrip("/")
        self._credential = Credential.bearer(self._endpoint, token) if token else None

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
    path = quote_path(file.huggingface_path or file.path)
    return f"{endpoint}/{_PREFIXES[repo.type]}{repo.repo}/resolve/{repo.revision}/{path}"
