"""The shapes of URLs the origin serves, taken apart. Pure.

==========================================  ================================================
``/{repo}/resolve/{revision}/{path}``       Hugging Face; also below ``/datasets``, ``/spaces``
``/api/resolve-cache/{kind}/{repo}/...``    where the Hugging Face shape sends small files
``/cdn/{sha256}``                           where it sends large files, by signed link
``/mirror/{name}/{version}/{path}``         a mirror, by template
``/blobs/{sha256}``                         by digest; also ``/blobs/sha256/{sha256}``
``/ipfs/{cid}``, ``/ipfs/{cid}/{path}``     an IPFS gateway
``/files/{path}``                           plain
==========================================  ================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SHAPES = [
    (
        "hub",
        r"/(?:(?:datasets|spaces)/)?(?P<scope>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
    ),
    ("hub-small", r"/api/resolve-cache/\w+/(?P<scope>[^/]+/[^/]+)/(?P<revision>[^/]+)/(?P<path>.+)"),
    ("cdn", r"/cdn/(?P<key>[0-9a-f]{64})"),
    ("mirror", r"/mirror/(?P<scope>[^/]+)/(?P<revision>[^/]+)/(?P<path>.+)"),
    ("blob", r"/blobs/(?:sha256/)?(?P<key>[0-9a-f]{64})"),
    ("ipfs", r"/ipfs/(?P<key>[^/]+)"),
    ("ipfs", r"/ipfs/(?P<scope>[^/]+)/(?P<path>.+)"),
    ("plain", r"/files/(?P<path>.+)"),
]


@dataclass(frozen=True, slots=True)
class Route:
    """Where a URL path points.

    Attributes:
        shape: Which kind of URL it is.
        scope: Repository, model name or directory CID the path is relative to; "" for none.
        revision: Revision or version.
        path: Path of the file; "" if it is asked for by key.
        key: SHA-256 or CID of the file; "" if it is asked for by path.
    """

    shape: str
    scope: str = ""
    revision: str = ""
    path: str = ""
    key: str = ""


def route(path: str) -> Route | None:
    """Take a decoded URL path apart; None if it has none of the shapes."""
    for shape, pattern in _SHAPES:
        if match := re.fullmatch(pattern, path):
            return Route(shape, **match.groupdict())
    return None
