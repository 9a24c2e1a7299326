"""The panel's own files: read once from the package, so that no request ever becomes a path."""

from __future__ import annotations

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
INDEX: Final = "index.html"


class Panel:
    """Everything below ``static/``, by its path there."""

    def __init__(self, root: Traversable | None = None) -> None:
        self._files = dict(_read(root or files("modelfetch.server") / "static"))

    def answer(self, path: str) -> Response:
        """Answer with one file.

        Raises:
            Refusal: There is none of this name.
        """
        content = self._files.get(path)
        kind = _TYPES.get(path[path.rfind(".") :])
        if content is None or kind is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "not_found", "there is nothing here")
        return Response(content, media_type=kind)


def _read(directory: Traversable, prefix: str = "") -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in directory.iterdir() if directory.is_dir() else ():
        if entry.is_dir():
            found += _read(entry, f"{prefix}{entry.name}/")
        else:
            found.append((prefix + entry.name, entry.read_bytes()))
    return found
