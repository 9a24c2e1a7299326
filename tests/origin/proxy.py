"""A small HTTP proxy on loopback: CONNECT tunnels and plain forwarding, or a refusal."""

from __future__ import annotations

import base64
import select
import socket
import ssl
from dataclasses import replace
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

from tests.origin.channel import Channel
from tests.origin.listener import Listener
from tests.origin.message import Reply, Request, parse_request
from tests.origin.transmission import transmission
from tests.patience import IN_TIME

Behaviour = Literal["ok", "cut", "bad-gateway"]


class Proxy:
    """A proxy that records what it was asked.

    Args:
        behaviour: Serve; close on every request without an answer; or answer 502.
        credentials: ``user:password`` required, else 407; None for an open proxy.
        tls: Speak https with this server-side context.
        to: Port of this machine that stands in for every host asked for; None to resolve them.

    Attributes:
        requests: Requests in order of arrival.
    """

    def __init__(
        self,
        behaviour: Behaviour = "ok",
        *,
        credentials: str | None = None,
        tls: ssl.SSLContext | None = None,
        to: int | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self._behaviour = behaviour
        self._credentials = credentials
        self._to = to
        self._listener = Listener(self._serve, tls=tls)
        self._scheme = "https" if tls else "http"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        if self._listener.errors and error is None:
            raise ExceptionGroup("the proxy failed", self._listener.errors)

    @property
    def url(self) -> str:
        """URL for HTTP_PROXY and HTTPS_PROXY, without credentials."""
        return f"{self._scheme}://127.0.0.1:{self._listener.port}"

    @property
    def tunnels(self) -> list[str]:
        """``host:port`` of each CONNECT."""
        return [request.target for request in self.requests if request.method == "CONNECT"]

    def _serve(self, channel: Channel) -> None:
        while (head := channel.read_head()) is not None:
            request = parse_request(head)
            self.requests.append(request)
            if self._behaviour == "cut":
                return
            refusal = self._refusal(request)
            if refusal is None:
                self._relay(channel, request)
                return
            if not _answer(channel, refusal if request.persistent else replace(refusal, ending="close")):
                return

    def _refusal(self, request: Request) -> Reply | None:
        if self._behaviour == "bad-gateway":
            return Reply(502)
        if self._credentials is None or request.header("Proxy-Authorization") == _basic(self._credentials):
            return None
        return Reply(407, (("Proxy-Authenticate", 'Basic realm="proxy"'),))

    def _relay(self, channel: Channel, request: Request) -> None:
        try:
            upstream = socket.create_connection(self._upstream(request), timeout=IN_TIME)
        except OSError:
            _answer(channel, Reply(502, ending="close"))
            return
        with upstream:
            if request.method == "CONNECT":
                channel.sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.sendall(_forwarded(request))
            _pump(channel.sock, upstream)

    def _upstream(self, request: Request) -> tuple[str | None, int]:
        if self._to is not None:
            return "127.0.0.1", self._to
        address = urlsplit(request.target if "://" in request.target else f"//{request.target}")
        return address.hostname, address.port or 80


def _answer(channel: Channel, reply: Reply) -> bool:
    return channel.perform(transmission(reply, head_only=False), lambda _sent: None)


def _basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def _forwarded(request: Request) -> bytes:
    address = urlsplit(request.target)
    target = (address.path or "/") + (f"?{address.query}" if address.query else "")
    kept = [
        (name, value)
        for name, value in request.headers
        if not name.lower().startswith(("proxy-", "connection"))
    ]
    lines = [
        f"{request.method} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in kept),
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _pump(client: socket.socket, upstream: socket.socket) -> None:
    peers = {client: upstream, upstream: client}
    while True:
        readable, _, _ = select.select(list(peers), [], [])
        for sock in readable:
            data = sock.recv(65536)
            if not data:
                return
            peers[sock].sendall(data)
