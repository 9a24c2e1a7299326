"""The API of GitHub as far as releases need it, and the downloads, which redirect to a signed address.

::

    GET /repos/O/N/releases/tags/TAG, /releases/latest, /releases      JSON, or 404 for missing and private
    GET /O/N/releases/download/TAG/NAME                                302 to /signed/...
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

from tests.hubs.server import HubServer, Reply, Request


@dataclass
class Asset:
    """One asset; ``digest`` None leaves it out, as for uploads before June 2025."""

    name: str
    content: bytes
    digest: str | None = "stated"
    state: str = "uploaded"
    size: int | None = None


@dataclass
class Release:
    """One release."""

    tag: str
    assets: list[Asset] = field(default_factory=list)


class GithubServer(HubServer):
    """Serves the releases of one repository.

    Attributes:
        repo: ``owner/name``.
        releases: The latest one last.
        token: Required for the API; None for a public repository.
        remaining: Requests before the rate limit is reached; None for no limit.
        renamed: An old name that redirects here.
        override: Replaces the JSON document of a release.
        status: Replaces the status of every answer of the API.
    """

    def __init__(self, repo: str = "owner/name", *releases: Release) -> None:
        super().__init__()
        self.repo = repo
        self.releases = list(releases)
        self.token: str | None = None
        self.remaining: int | None = None
        self.limit_fields: dict[str, str] = {}
        self.renamed = ""
        self.override: Any = None
        self.status: int | None = None

    def answer(self, request: Request) -> Reply:
        """Answer a request to the API, to a download, or to a signed address."""
        path = unquote(request.path)
        if path.startswith("/repos/"):
            return self._api(request, path.removeprefix("/repos/"))
        if path.startswith("/repositories/1/"):
            return self._api(request, f"{self.repo}/{path.removeprefix('/repositories/1/')}")
        if path.startswith("/signed/"):
            return Reply(400) if request.token else Reply(body=self._content(path[8:]))
        prefix = f"/{self.repo}/releases/download/"
        if path.startswith(prefix):
            target = f"/signed/{request.path.removeprefix(prefix)}?sig=s3cr3t"
            return Reply(302, {"Location": target})
        return Reply(404)

    def _api(self, request: Request, path: str) -> Reply:
        if self.status is not None:
            return Reply(self.status, body=b"{}")
        if self.remaining is not None:
            self.remaining -= 1
            if self.remaining < 0:
                return Reply(403, self.limit_fields, b'{"message": "API rate limit exceeded"}')
        given = request.headers.get("authorization")
        if given not in (None, f"Bearer {self.token}"):
            return Reply.json({"message": "Bad credentials"}, 401)
        owner, name, *rest = path.split("/")
        if self.renamed == f"{owner}/{name}":
            return Reply(301, {"Location": f"/repositories/1/{'/'.join(rest)}"})
        if f"{owner}/{name}" != self.repo or (self.token is not None and given is None):
            return Reply.json({"message": "Not Found"}, 404)
        return self._releases(rest[1:])

    def _releases(self, rest: list[str]) -> Reply:
        match rest:
            case []:
                return Reply.json([self._document(release) for release in self.releases])
            case ["latest"] if self.releases:
                return Reply.json(self._document(self.releases[-1]))
            case ["tags", *parts]:
                for release in self.releases:
                    if release.tag == "/".join(parts):
                        return Reply.json(self._document(release))
            case _:
                pass
        return Reply.json({"message": "Not Found"}, 404)

    def _document(self, release: Release) -> Any:
        if self.override is not None:
            return self.override
        return {
            "tag_name": release.tag,
            "html_url": f"{self.endpoint}/{self.repo}/releases/tag/{release.tag}",
            "name": None,
            "draft": False,
            "assets": [self._asset(release, asset) for asset in release.assets],
        }

    @property
    def _downloads(self) -> str:
        return f"{self.endpoint}/{self.repo}/releases/download/"

    def _asset(self, release: Release, asset: Asset) -> dict[str, object]:
        digest = asset.digest
        if digest == "stated":
            digest = f"sha256:{hashlib.sha256(asset.content).hexdigest()}"
        return {
            "name": asset.name,
            "size": len(asset.content) if asset.size is None else asset.size,
            "digest": digest,
            "state": asset.state,
            "updated_at": "2025-01-01T00:00:00Z",
            "browser_download_url": f"{self._downloads}{release.tag}/{asset.name}",
        }

    def _content(self, path: str) -> bytes:
        return next(
            asset.content
            for release in self.releases
            for asset in release.assets
            if path == f"{release.tag}/{asset.name}"
        )


def rate_limit(seconds: float) -> dict[str, str]:
    """The fields of an answer when the limit is reached, which ends after some seconds."""
    now = int(time.time())
    return {
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(now + int(seconds)),
        "Date": formatdate(now, usegmt=True),
    }
