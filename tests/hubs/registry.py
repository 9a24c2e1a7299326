"""An OCI registry on loopback: manifests, blobs, a token service, and a CDN. It can misbehave.

Every request is recorded. What goes wrong is an attribute that a test sets, such as ``realm`` or ``cdn``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MODELPACK = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
RAW = "application/vnd.cncf.model.weight.v1.raw"
FILEPATH = "org.cncf.model.filepath"
TITLE = "org.opencontainers.image.title"


@lru_cache(maxsize=64)
def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer(
    data: bytes, path: str = "", *, kind: str = RAW, key: str = FILEPATH, **more: Any
) -> dict[str, Any]:
    """A descriptor of a blob."""
    annotations = {"annotations": {key: path}} if path else {}
    return {"mediaType": kind, "digest": digest_of(data), "size": len(data)} | annotations | more


def manifest(layers: list[dict[str, Any]], config: bytes = b"{}", **more: Any) -> dict[str, Any]:
    """A manifest of ModelPack."""
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": MODELPACK,
        "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": layers,
    } | more


class _Server(ThreadingHTTPServer):
    request_queue_size = 64
    """With the usual 5, the sixth of some clients that connect at once tries again a second later."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave are part of the tests; what they see is what the command under test printed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@dataclass(frozen=True)
class Asked:
    """A request that was received."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}

    @property
    def form(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(self.body.decode()).items()}

    @property
    def authorization(self) -> str:
        return self.headers.get("authorization", "")


@dataclass
class Registry:
    """A registry. Without ``login`` and ``is_private``, everything may be read."""

    login: tuple[str, str] | None = None
    """User and password that may read; None for anyone."""
    scheme: str | None = None
    """``Bearer`` or ``Basic`` if a credential is needed."""
    realm: str = ""
    """Address of the token service, if it is not this server."""
    challenge: str = ""
    """``WWW-Authenticate``, if it is not the right one."""
    identity_token: str = ""
    """Refresh token that the token service takes."""
    token_answer: dict[str, Any] = field(default_factory=dict)
    """Members of the token service's answer, in place of its own."""
    token_status: int = 200
    cdn: str = ""
    """Origin to which blobs are redirected."""
    headers: dict[str, str] = field(default_factory=dict)
    """Fields of manifests, in place of the right ones."""
    failures: list[int] = field(default_factory=list)
    """Statuses of the next requests for manifests and blobs."""
    cut_after: int | None = None
    """The next blob of more bytes ends after that many."""
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    """Type and bytes, by repository and tag or digest."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    """Valid tokens."""
    expires_at_cut: bool = False
    """Whether all tokens expire when a blob is cut."""

    def __enter__(self) -> Self:
        handler = type("Handler", (self.handler(),), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return Handler

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}"

    def add(self, *blobs: bytes) -> None:
        self.blobs |= {digest_of(blob): blob for blob in blobs}

    def push(self, name: str, tag: str, document: dict[str, Any] | bytes, kind: str = "") -> str:
        """Store a manifest under a tag and its digest; returns the digest."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        if not kind:
            kind = document.get("mediaType", OCI_MANIFEST) if isinstance(document, dict) else OCI_MANIFEST
        for reference in (tag, digest_of(body)):
            self.manifests[name, reference] = kind, body
        return digest_of(body)

    def push_files(self, name: str, tag: str, files: Mapping[str, bytes], config: bytes = b"{}") -> str:
        """Store an artifact of ModelPack with raw layers."""
        self.add(config, *files.values())
        return self.push(name, tag, manifest([layer(data, path) for path, data in files.items()], config))

    def paths(self, pattern: str = "") -> list[str]:
        return [f"{each.method} {each.path}" for each in self.asked if re.search(pattern, each.path)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one segment, else each answer waits for an acknowledgement
    owner: Registry

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(method, self.path, headers, body)
        self.owner.asked.append(asked)
        path = urlsplit(self.path).path
        if path == "/token":
            self._token(asked)
        elif path.startswith("/cdn/"):
            self._blob(asked, path.removeprefix("/cdn/"))
        elif found := re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path):
            self._read(asked, *found.groups())
        else:
            self._error(404, "UNSUPPORTED")

    def _read(self, asked: Asked, name: str, what: str, reference: str) -> None:
        owner = self.owner
        if owner.failures:
            self._error(owner.failures.pop(0), "UNKNOWN")
        elif not self._may_read(asked):
            self._refuse()
        elif what == "blobs" and owner.cdn:
            self._send(307, b"", {"Location": f"{owner.cdn}/cdn/{reference}?signature=secret"})
        elif what == "blobs":
            self._blob(asked, reference)
        elif (name, reference) in owner.manifests:
            kind, body = owner.manifests[name, reference]
            if kind not in asked.headers.get("accept", ""):
                self._error(404, "MANIFEST_UNKNOWN")
            else:
                fields = {"Content-Type": kind, "Docker-Content-Digest": digest_of(body)}
                self._send(200, body, fields | owner.headers)
        else:
            is_known = any(name == each for each, _ in owner.manifests)
            self._error(404, "MANIFEST_UNKNOWN" if is_known else "NAME_UNKNOWN")

    def _refuse(self) -> None:
        owner = self.owner
        own = f'{owner.scheme} realm="{owner.realm or owner.endpoint + "/token"}",service="lab"'
        self._error(401, "UNAUTHORIZED", {"WWW-Authenticate": owner.challenge or own})

    def _may_read(self, asked: Asked) -> bool:
        owner = self.owner
        if owner.scheme is None:
            return True
        if owner.scheme == "Basic":
            return asked.authorization == _basic(owner.login)
        scheme, _, token = asked.authorization.partition(" ")
        return scheme == "Bearer" and token in owner.tokens

    def _token(self, asked: Asked) -> None:
        owner = self.owner
        if owner.identity_token:
            is_good = asked.method == "POST" and asked.form.get("refresh_token") == owner.identity_token
        else:
            is_good = owner.login is None or asked.authorization == _basic(owner.login)
        if not is_good or owner.token_status != 200:
            self._error(401 if not is_good else owner.token_status, "UNAUTHORIZED")
            return
        token = f"token-{len(owner.tokens)}"
        owner.tokens.append(token)
        self._send(200, json.dumps({"token": token, "expires_in": 300} | owner.token_answer).encode())

    def _blob(self, asked: Asked, digest: str) -> None:
        data = self.owner.blobs.get(digest)
        if data is None:
            self._error(404, "BLOB_UNKNOWN")
            return
        fields = {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        status, part = 200, data
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", "")):
            start, end = int(found[1]), int(found[2] or len(data) - 1) + 1
            status, part = 206, data[start:end]
            fields["Content-Range"] = f"bytes {start}-{min(end, len(data)) - 1}/{len(data)}"
        self._send(status, part, fields)

    def _error(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps({"errors": [{"code": code}]}).encode(), headers or {})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | dict(headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.owner.cut_after
        if cut is not None and cut < len(body) and "ETag" in (headers or {}):
            body, self.owner.cut_after = body[:cut], None
            if self.owner.expires_at_cut:
                self.owner.tokens[:] = ["no longer valid" for _ in self.owner.tokens]
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(body)


def _basic(login: tuple[str, str] | None) -> str:
    user, password = login or ("", "")
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
