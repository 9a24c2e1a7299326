"""What a request says, read from its ASGI scope: client, connection, header fields and path.

The shared endpoints use this instead of Starlette's request where they have only the scope, or where the
decoded path is not enough. Example::

    scope = {"client": ("192.0.2.7", 50000), "raw_path": b"/org/repo/resolve/main/a%2Fb.bin", ...}
    client_address(scope)    192.0.2.7
    segments(request)        ["org", "repo", "resolve", "main", "a/b.bin"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from modelfetch.server.connection_timeouts import CONNECTION

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Scope

    from modelfetch.server.connection_timeouts import Connection


def client_address(scope: Scope) -> str:
    """Return the IP address of the client of a request; empty if it is not known."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def connection_of(scope: Scope) -> Connection | None:
    """Return the connection that a request came over; None in tests without one."""
    found: Connection | None = scope.get("state", {}).get(CONNECTION)
    return found


def joined_headers(scope: Scope) -> dict[str, str]:
    """Return the header fields of a request by name; values of one name are joined (RFC 9110, 5.3)."""
    fields: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


def raw_path(request: Request) -> str:
    """Return the path of a request as it was sent, still percent-encoded.

    The decoded path does not tell a slash within a name from one between two names.
    """
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return raw.partition(b"?")[0].decode("latin-1")


def segments(request: Request) -> list[str]:
    """Return the decoded names between the slashes of a path, without that before the first slash.

    Raises:
        ValueError: A name is not UTF-8.
    """
    return [unquote(name, errors="strict") for name in raw_path(request).split("/")[1:]]
