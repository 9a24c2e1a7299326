"""Hugging Face: ``resolve`` addresses at the pinned commit, through whatever endpoint is configured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelfetch.net.urls import Credential, quote_path
from modelfetch.sources.base import HttpOffer, Offer

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest
    from modelfetch.net.client import Client

# Repositories that are not models live below a prefix (Hub API, "resolve").
_PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}


_WANTED = "Set HF_TOKEN to a token that may read it, and accept the terms on its page."
_REFUSED = (
    "The token of HF_TOKEN (or of the token file) was refused: it is wrong, has expired, or may not read "
    "this. Renew it, accept the terms on the page, or unset it for what is public."
)


class HuggingFaceSource:
    """The repository a manifest pins.

    Args:
        client: HTTP.
        endpoint: The Hub or a mirror of it (``HF_ENDPOINT``).
        token: Access token; sent to the endpoint's own origin only, never along a redirect.
    """

    kind = "huggingface"

    def __init__(self, client: Client, endpoint: str, token: str | None) -> None:
        self._client = client
        self._endpoint = endpoint.rstrip("/")
        self._credential = Credential.bearer(self._endpoint, token) if token else None

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """One offer, when the manifest names a repository."""
        if manifest.huggingface is None:
            return []
        url = resolve_url(self._endpoint, manifest.huggingface, file)
        refused = _WANTED if self._credential is None else _REFUSED
        return [HttpOffer(self.kind, url, file.size, self._client, self._credential, refused)]


def cache_folder(repo: HuggingFaceRepo) -> str:
    """The name of a repository's directory in the cache of the Hugging Face libraries."""
    return f"{repo.type}s--{repo.repo.replace('/', '--')}"


def resolve_url(endpoint: str, repo: HuggingFaceRepo, file: FileSpec) -> str:
    """The address of a file at the pinned commit."""
    path = quote_path(file.huggingface_path or file.path)
    return f"{endpoint}/{_PREFIXES[repo.type]}{repo.repo}/resolve/{repo.revision}/{path}"
