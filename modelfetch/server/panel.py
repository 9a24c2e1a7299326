"""The files of the web panel, read once from the package.

A request looks its path up in a dictionary and never in the file system, so no path in a request
(``../../etc/passwd``) can reach a file outside the panel.
"""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.responses import Response

from modelfetch.server.error_responses import Refusal

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
"""Media types by suffix. Fixed, because the tables of the machine differ, and browsers refuse scripts and
styles of another type (the responses have ``nosniff``)."""
INDEX: Final = "index.html"


class Panel:
    """Everything below ``static/``, by its path there."""

    def __init__(self, root: Traversable | None = None) -> None:
        self._files = _own_files() if root is None else dict(_read_files(root))

    def response(self, path: str) -> Response:
        """Make the response with one file.

        Raises:
            Refusal: There is no file of this name.
        """
        content = self._files.get(path)
        kind = _TYPES.get(path[path.rfind(".") :])
        if content is None or kind is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "not_found", "there is no such page")
        return Response(content, media_type=kind)


@cache
def _own_files() -> dict[str, bytes]:
    return dict(_read_files(files("modelfetch.server") / "static"))


def _read_files(directory: Traversable, prefix: str = "") -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in directory.iterdir() if directory.is_dir() else ():
        if entry.is_dir():
            found += _read_files(entry, f"{prefix}{entry.name}/")
        else:
            found.append((prefix + entry.name, entry.read_bytes()))
    return found
