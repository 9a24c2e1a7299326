"""What the origin serves and the good answer to each request: contents, hub rules, signed links."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from urllib.parse import quote

from tests.origin.content import Content
from tests.origin.message import Headers, Reply, Request
from tests.origin.ranges import Representation, represent
from tests.origin.routes import Route, route


@dataclass(frozen=True, slots=True)
class Entry:
    """A content and the path it was added under."""

    path: str
    content: Content


@dataclass(frozen=True, slots=True)
class Hub:
    """Rules of the Hugging Face shape.

    Attributes:
        cdn: Where large files are redirected to; None serves them in place.
        large: Size in bytes from which a file is large.
        large_status: Status of the redirect of large files.
        small_status: Status of the relative redirect of small files; None serves them in place.
        token: Bearer token required; None for a public hub.
        missing: Status for a request without a token.
        wrong: Status for a request with another token.
    """

    cdn: Cdn | None = None
    large: int = 1_000_000
    large_status: int = 302
    small_status: int | None = None
    token: str | None = None
    missing: int = 401
    wrong: int = 403


class Cdn:
    """Signed links to the contents of a site.

    Attributes:
        base: URL of the site, without a slash at the end.
        signatures: Those that are valid now.
    """

    def __init__(self, base: str, site: Site) -> None:
        self.base = base
        self.signatures: set[str] = set()
        self._site = site

    def sign(self, entry: Entry) -> str:
        """A new link to a content, which the site serves from now on."""
        self._site.insert(entry)
        signature = secrets.token_hex(32)
        self.signatures.add(signature)
        return f"{self.base}/cdn/{entry.content.sha256}?X-Amz-Expires=3600&X-Amz-Signature={signature}"

    def refusal(self, request: Request) -> Reply | None:
        """How a link that may not be used is answered; None for a good one."""
        if request.header("Authorization"):
            return Reply(400, body=Content.of(b"<Error><Code>InvalidArgument</Code></Error>"))
        # A link is signed for one method: HEAD with a link for GET is refused.
        if request.method != "GET" or request.query.get("X-Amz-Signature") not in self.signatures:
            return Reply(403, body=Content.of(b"<Error><Code>AccessDenied</Code></Error>"))
        return None


class Site:
    """Contents by path, digest and CID.

    Attributes:
        hub: Rules of the Hugging Face shape.
        cdn: Links to what is served here.
    """

    def __init__(self, base: str) -> None:
        self.hub = Hub()
        self.cdn = Cdn(base, self)
        self._by_path: dict[tuple[str, str], Entry] = {}
        self._by_key: dict[str, Entry] = {}

    def add(self, path: str, content: Content, *, scope: str = "", cid: str | None = None) -> None:
        """Serve a content in every shape.

        Args:
            path: Relative path of the file.
            content: Its bytes.
            scope: Repository, model name or directory CID it belongs to; "" for whichever is asked for.
            cid: Another CID than that of the content as one raw block.
        """
        entry = Entry(path, content)
        self._by_path[scope, path] = entry
        if cid:
            self._by_key[cid] = entry
        self.insert(entry)

    def insert(self, entry: Entry) -> None:
        """Serve a content by its digest and raw CID."""
        self._by_key[entry.content.sha256] = self._by_key[entry.content.cid] = entry

    def locate(self, request: Request) -> tuple[Route | None, Entry | None]:
        """What a request asks for; notes the file's path in the request."""
        where = route(request.path)
        entry = self._find(where) if where else None
        request.file = entry.path if entry else where.path if where else ""
        return where, entry

    def reply(self, request: Request) -> Reply:
        """The good answer."""
        where, entry = self.locate(request)
        if request.method not in ("GET", "HEAD"):
            return Reply(405, (("Allow", "GET, HEAD"),))
        if where and (refusal := self._refusal(where, request)):
            return refusal
        if where is None or entry is None:
            return Reply(404, (("Content-Type", "text/plain"),), body=Content.of(b"Entry not found"))
        if where.shape == "hub" and (elsewhere := self._redirect(where, entry)):
            return elsewhere
        return represent(request, Representation(entry.content, *_headers(where, entry, request)))

    def _find(self, where: Route) -> Entry | None:
        if where.key:
            return self._by_key.get(where.key)
        scopes = (where.scope, where.scope.rpartition("/")[2], "")
        found = (self._by_path.get((scope, where.path)) for scope in scopes)
        return next((entry for entry in found if entry), None)

    def _refusal(self, where: Route, request: Request) -> Reply | None:
        if where.shape == "cdn":
            return self.cdn.refusal(request)
        return _token_refusal(self.hub, request) if where.shape.startswith("hub") else None

    def _redirect(self, where: Route, entry: Entry) -> Reply | None:
        hub, size = self.hub, entry.content.size
        if size >= hub.large:
            return _moved(hub.large_status, hub.cdn.sign(entry), where, entry) if hub.cdn else None
        location = f"/api/resolve-cache/models/{where.scope}/{where.revision}/{quote(where.path)}"
        return _moved(hub.small_status, location, where, entry) if hub.small_status else None


def commit_of(revision: str) -> str:
    """The commit a revision stands for: itself if it is one, else a made-up one."""
    is_commit = re.fullmatch(r"[0-9a-f]{40}", revision)
    return revision if is_commit else hashlib.sha1(revision.encode(), usedforsecurity=False).hexdigest()


def _token_refusal(hub: Hub, request: Request) -> Reply | None:
    given = request.header("Authorization")
    if hub.token is None or given == f"Bearer {hub.token}":
        return None
    reply = Reply(hub.wrong if given else hub.missing, body=Content.of(b"Access to this model is restricted"))
    return reply.with_header("X-Error-Code", "GatedRepo")


def _moved(status: int, location: str, where: Route, entry: Entry) -> Reply:
    headers = (("Location", location), *_hub_headers(where, entry))
    return Reply(status, headers, body=Content.of(b"Redirecting"), whole=entry.content)


def _hub_headers(where: Route, entry: Entry) -> Headers:
    return (
        ("X-Repo-Commit", commit_of(where.revision)),
        ("X-Linked-Size", str(entry.content.size)),
        ("X-Linked-ETag", f'"{entry.content.sha256}"'),
    )


def _headers(where: Route, entry: Entry, request: Request) -> tuple[str, Headers]:
    sha256, kind = entry.content.sha256, ("Content-Type", "application/octet-stream")
    match where.shape:
        case "hub" | "hub-small":
            return f'"{sha256}"', (kind, *_hub_headers(where, entry))
        case "ipfs":
            return f'"{where.key or entry.content.cid}"', _gateway_headers(request)
        case _:
            return f'"{sha256[:32]}"', (kind,)


def _gateway_headers(request: Request) -> Headers:
    raw = request.query.get("format") == "raw"
    kind = "application/vnd.ipld.raw" if raw else "application/octet-stream"
    return ("Content-Type", kind), ("X-Ipfs-Path", quote(request.path))
