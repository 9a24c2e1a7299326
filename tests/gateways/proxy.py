"""A gateway in front of another one, which adds the faults that the other one does not have."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from tests.gateways.dags import Dag
from tests.gateways.gateway import Gateway, Request, Status

_KEPT = ("content-type", "content-range", "content-length", "etag", "accept-ranges")
_PIECE = 1 << 18


class Proxy(Gateway):
    """Forwards requests to a gateway on this machine. Its faults come on top.

    Attributes:
        flips: By form (``file``, ``raw``, ``car``), the position of a byte in each body that is sent wrong.

    Args:
        port: Of the gateway.
    """

    def __init__(self, port: int) -> None:
        super().__init__(Dag())
        self.faults.keeps_query = True
        self.flips: dict[str, int] = {}
        self._upstream = port

    def _content(self, request: Request) -> tuple[Status, Iterable[bytes] | None]:
        target = request.target
        if request.headers["host"].startswith("b"):
            parts = urlsplit(target)
            path = f"/ipfs/{request.headers['host'].partition('.')[0]}{parts.path}".rstrip("/")
            target = f"{path}?{parts.query}" if parts.query else path
        dropped = {"host", "connection", "range" if self.faults.ignores_range else ""}
        headers = {name: value for name, value in request.headers.items() if name not in dropped}
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream)
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        kept = {name.lower(): value for name, value in answer.getheaders() if name.lower() in _KEPT}
        return Status(answer.status, kept), self._pieces(request, connection, answer)

    def _pieces(
        self, request: Request, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse
    ) -> Iterator[bytes]:
        position, flip = 0, self.flips.get(request.form, -1)
        try:
            while piece := answer.read1(_PIECE):
                if position <= flip < position + len(piece):
                    at = flip - position
                    piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
                position += len(piece)
                yield piece
            if answer.length:
                raise ConnectionError("the other gateway broke off")  # and so does this one
        finally:
            connection.close()
