"""The API of GitHub as far as releases need it, and the downloads, which redirect to a signed address.

::

    GET /repos/O/N/releases/tags/TAG, /releases/latest, /releases      JSON, or 404 for missing and private
    GET /O/N/releases/download/TAG/NAME                                302 to /signed/...
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

from tests.hubs.loopback import Asked, Loopback, Said


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


class GithubServer(Loopback):
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

    def answer(self, asked: Asked) -> Said:
        """Answer a request to the API, to a download, or to a signed address."""
        path = unquote(asked.path)
        if path.startswith("/repos/"):
            return self._api(asked, path.removeprefix("/repos/"))
        if path.startswith("/repositories/1/"):
            return self._api(asked, f"{self.repo}/{path.removeprefix('/repositories/1/')}")
        if path.startswith("/signed/"):
            return Said(400) if "authorization" in asked.headers else Said(200, self._content(path[8:]))
        prefix = f"/{self.repo}/releases/download/"
        if path.startswith(prefix):
            target = f"/signed/{asked.path.removeprefix(prefix)}?sig=s3cr3t"
            return Said(302, headers={"Location": target})
        return Said(404)

    def _api(self, asked: Asked, path: str) -> Said:
        if self.status is not None:
            return Said(self.status, b"{}")
        if self.remaining is not None:
            self.remaining -= 1
            if self.remaining < 0:
                return Said(403, b'{"message": "API rate limit exceeded"}', self.limit_fields)
        given = asked.headers.get("authorization")
        if given not in (None, f"Bearer {self.token}"):
            return _json({"message": "Bad credentials"}, 401)
        owner, name, *rest = path.split("/")
        if self.renamed == f"{owner}/{name}":
            return Said(301, headers={"Location": f"/repositories/1/{'/'.join(rest)}"})
        if f"{owner}/{name}" != self.repo or (self.token is not None and given is None):
            return _json({"message": "Not Found"}, 404)
        return self._releases(rest[1:])

    def _releases(self, rest: list[str]) -> Said:
        match rest:
            case []:
                return _json([self._document(release) for release in self.releases])
            case ["latest"] if self.releases:
                return _json(self._document(self.releases[-1]))
            case ["tags", *parts]:
                for release in self.releases:
                    if release.tag == "/".join(parts):
                        return _json(self._document(release))
            case _:
                pass
        return _json({"message": "Not Found"}, 404)

    def _document(self, release: Release) -> Any:
        if self.override is not None:
            return self.override
        return {
            "tag_name": release.tag,
            "html_url": f"{self.url}/{self.repo}/releases/tag/{release.tag}",
            "name": None,
            "draft": False,
            "assets": [self._asset(release, asset) for asset in release.assets],
        }

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
            "browser_download_url": f"{self.url}/{self.repo}/releases/download/{release.tag}/{asset.name}",
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


def _json(document: object, status: int = 200) -> Said:
    return Said(status, json.dumps(document).encode(), {"Content-Type": "application/json"})
