"""The origin: a real HTTP/1.1 server on loopback that answers well, or exactly as badly as scripted."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tests.origin.channel import Channel
from tests.origin.content import Content
from tests.origin.faults.base import Fault
from tests.origin.listener import Listener
from tests.origin.message import Reply, Request, parse_request
from tests.origin.rules import Rule, Rules, matches
from tests.origin.site import Site
from tests.origin.transmission import transmission
from tests.patience import IN_TIME

ALLOWED_ABROAD = frozenset(
    {"host", "connection", "accept", "accept-encoding", "user-agent", "range", "if-range"}
)


class Origin:
    """A server on 127.0.0.1 that records what it was asked and how much it sent.

    Args:
        pace: Bytes of a body per second and connection; None for no limit. A change holds at once.
        port: TCP port; 0 for any free one.
        tls: Speak https with this server-side context.
    """

    def __init__(
        self, *, pace: float | None = None, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.pace = pace
        self._requests: list[Request] = []
        self._lock = threading.Lock()
        self._rules = Rules()
        self._listener = Listener(self._serve, port=port, tls=tls)
        self.endpoint = f"http{'s' if tls else ''}://127.0.0.1:{self._listener.port}"
        self._site = Site(self.endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self.errors and error is None:
            raise ExceptionGroup("the origin failed", self.errors)

    def close(self) -> None:
        """Stop at once, whatever is under way."""
        self._listener.close()

    # What is served, and where

    def add(self, path: str, content: bytes | Content, *, scope: str = "", cid: str | None = None) -> Content:
        """Serve a file under its path, digest and CID, in every shape of URL.

        Args:
            path: Relative path.
            content: The bytes.
            scope: Model name, repository or directory CID the path belongs to; "" for any.
            cid: Another CID for it than the one of its bytes as one raw block.
        """
        content = Content.of(content) if isinstance(content, bytes) else content
        self._site.add(path, content, scope=scope, cid=cid)
        return content

    def url(self, path: str) -> str:
        """The URL of a path of this origin; what is percent-encoded stays so."""
        return self.endpoint + quote(path, safe="/%?=&:@+,;~")

    @property
    def port(self) -> int:
        """TCP port."""
        return self._listener.port

    @property
    def mirror(self) -> str:
        """URL template of the mirror shape."""
        return self.endpoint + "/mirror/{name}/{version}/{path}"

    @property
    def blobs(self) -> str:
        """URL template of files by digest."""
        return self.endpoint + "/blobs/{sha256}"

    def redirect_large(self, to: Origin | None = None, *, at: int = 1_000_000, status: int = 302) -> None:
        """Redirect hub requests for files from `at` bytes on, by signed link, to an origin or back here."""
        cdn = (to or self)._site.cdn
        self._site.hub = replace(self._site.hub, cdn=cdn, large=at, large_status=status)

    def redirect_small(self, status: int = 307) -> None:
        """Redirect hub requests for files that are not large, by a relative Location."""
        self._site.hub = replace(self._site.hub, small_status=status)

    def require_token(self, token: str, *, missing: int = 401, wrong: int = 403) -> None:
        """Refuse hub requests without this bearer token."""
        self._site.hub = replace(self._site.hub, token=token, missing=missing, wrong=wrong)

    @property
    def signatures(self) -> set[str]:
        """Signatures of the links to this origin that are valid now; `clear()` lets all of them expire."""
        return self._site.cdn.signatures

    # How it misbehaves

    def fault(
        self,
        pattern: str,
        fault: Fault,
        *,
        times: int | None = None,
        after: int = 0,
        when: Callable[[Request], bool] | None = None,
    ) -> None:
        """Misbehave for some requests; of the rules that want a request the one added first has it.

        A redirect and the request it leads to are two requests for the same file: name ``/cdn/*`` to spoil
        only what signed links give.

        Args:
            pattern: Shell pattern for the URL's path, the file's path or its last name.
            fault: What to do.
            times: For how many requests; None for always.
            after: How many matching requests to leave alone first.
            when: A further condition.
        """
        self._rules.add(Rule(pattern, fault, times, after, when))

    def heal(self) -> None:
        """Misbehave no more."""
        self._rules.clear()

    # What it has seen

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in order of arrival."""
        with self._lock:
            return list(self._requests)

    def asked(self, pattern: str) -> list[Request]:
        """The requests for matching paths."""
        return [request for request in self.requests if matches(pattern, request)]

    def sent(self, pattern: str = "*") -> int:
        """Bytes of bodies sent for matching paths."""
        return sum(request.sent for request in self.asked(pattern))

    @property
    def bytes_sent(self) -> int:
        """Bytes of bodies sent."""
        return self.sent()

    @property
    def connections(self) -> int:
        """Connections accepted so far."""
        return self._listener.accepted

    @property
    def active(self) -> int:
        """Connections open now."""
        return self._listener.active

    @property
    def foreign_headers(self) -> set[str]:
        """Names, in lower case, of headers received that no redirect may carry to another origin."""
        names = {name.lower() for request in self.requests for name, _ in request.headers}
        return names - ALLOWED_ABROAD

    @property
    def errors(self) -> list[Exception]:
        """Malformed requests and failures of the origin itself; leaving the context raises them."""
        return self._listener.errors

    def forget(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._requests.clear()

    def until(self, condition: Callable[[Origin], bool], timeout: float = IN_TIME) -> None:
        """Wait until something is true of the origin.

        Raises:
            TimeoutError: It has not become true in time.
        """
        deadline = time.monotonic() + timeout
        while not condition(self):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not so within {timeout} s")
            time.sleep(0.002)

    # One connection

    def _serve(self, channel: Channel) -> None:
        reused = False
        while (head := channel.read_head()) is not None:
            request = self._receive(channel, head, reused=reused)
            reply = self._reply(request)
            try:
                keep = self._send(channel, request, reply)
            finally:
                request.finished = time.monotonic()
            if not keep:
                return
            reused = True

    def _receive(self, channel: Channel, head: bytes, *, reused: bool) -> Request:
        request = parse_request(head)
        request.client, request.connection, request.reused = channel.client, channel.number, reused
        channel.discard(int(request.header("Content-Length") or 0))
        return request

    def _reply(self, request: Request) -> Reply:
        reply = self._site.reply(request)
        fault = self._rules.fault(request)
        if fault:
            request.fault, reply = fault.name, fault(request, reply)
        request.status = reply.status
        with self._lock:
            self._requests.append(request)
        return reply if request.persistent or reply.ending != "keep" else replace(reply, ending="close")

    def _send(self, channel: Channel, request: Request, reply: Reply) -> bool:
        def count(sent: int) -> None:
            request.sent += sent

        ops = transmission(reply, head_only=request.method == "HEAD")
        return channel.perform(ops, count, lambda: self.pace)
