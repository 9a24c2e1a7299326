"""The configuration of nginx, and the answers of a small Hugging Face Hub made of files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.bench.material import Material

REVISION = "1f2e3d4c5b6a79880f1e2d3c4b5a69788f0e1d2c"
"""The made-up commit every repository is at."""


def configuration(
    work: Path, materials: Sequence[Material], where: Mapping[str, str], *, secure: bool
) -> str:
    """The text of ``nginx.conf``: one server block for each profile with a port.

    Args:
        work: Directory of certificate, key, Hub answers and the socket of the pause.
        materials: What is served.
        where: Address and port of each profile.
        secure: Whether there is a certificate for the profile ``tls``.
    """
    return "\n".join(
        [
            *_process(work),
            "http {",
            *_common(work),
            *_digests(materials),
            *_server(work, materials, where["plain"], []),
            *(_server(work, materials, where["tls"], _tls(work)) if secure else ()),
            *_server(work, materials, where["paced"], _PAUSED),
            *_server(work, materials, where["delayed"], _PAUSED),
            "}\n",
        ]
    )


def tree(material: Material) -> str:
    """The Hub's answer to the question which files a repository has."""
    return json.dumps([_entry(file.path, file.size, file.sha256) for file in material.files])


def _entry(path: str, size: int, sha256: str) -> dict[str, object]:
    lfs = {"oid": sha256, "size": size, "pointerSize": 134}
    return {"type": "file", "oid": sha256[:40], "size": size, "path": path, "lfs": lfs}


def _process(work: Path) -> Iterable[str]:
    yield f"daemon off; pid {work}/nginx.pid; error_log {work}/nginx.log;"
    yield "worker_processes 2; worker_rlimit_nofile 8192; events { worker_connections 4096; }"
    if os.geteuid() == 0:
        yield "user root;"  # the files may lie where no other user can go


def _common(work: Path) -> Iterable[str]:
    yield "access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000; keepalive_timeout 75s;"
    yield "default_type application/octet-stream; map_hash_max_size 16384; map_hash_bucket_size 256;"
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        yield f"{kind}_temp_path {work}/temp-{kind};"
    yield f"upstream pause {{ server unix:{work}/pause.sock; keepalive 256; keepalive_requests 1000000; }}"


def _digests(materials: Sequence[Material]) -> Iterable[str]:
    """What the Hub says of each file: its SHA-256 is the name it is cached under."""
    yield "map $uri $sha256 {"
    for material in materials:
        for file in material.files:
            yield f'"/bench/{material.name}/resolve/{REVISION}/{file.path}" {file.sha256};'
    yield "}"
    yield 'map $sha256 $etag { "" ""; default "\\"$sha256\\""; }'


def _tls(work: Path) -> list[str]:
    files = f"ssl_certificate {work}/certificate.pem; ssl_certificate_key {work}/key.pem;"
    return [f"{files} ssl_protocols TLSv1.3;"]


_PAUSED = [
    "auth_request /pause;",
    "location = /pause { internal; auth_request off; proxy_pass http://pause; proxy_http_version 1.1;",
    'proxy_set_header Connection ""; proxy_pass_request_body off; proxy_set_header Content-Length ""; }',
]
"""Every request first asks one of our own whether it may, and is told so a moment later."""


def _server(work: Path, materials: Sequence[Material], where: str, more: Sequence[str]) -> Iterable[str]:
    ssl = " ssl" if any("ssl_certificate" in line for line in more) else ""
    yield f"server {{ listen {where}{ssl};"
    yield from more
    yield "location = /ready { return 204; }"
    for material in materials:
        yield from _locations(work, material)
    yield "}"


def _locations(work: Path, material: Material) -> Iterable[str]:
    """The files as they are, and as a repository of a Hub."""
    name = material.name
    yield f"location /files/{name}/ {{ alias {material.root}/; }}"
    yield f"location /bench/{name}/resolve/{REVISION}/ {{ alias {material.root}/;"
    yield f"add_header X-Repo-Commit {REVISION}; add_header ETag $etag; add_header X-Linked-ETag $etag; }}"
    yield f"location = /api/models/bench/{name}/tree/{REVISION} {{ default_type application/json;"
    yield f"alias {work}/{name}.tree; }}"
