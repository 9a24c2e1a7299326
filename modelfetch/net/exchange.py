"""One exchange with a server: redirects by hand, every answer judged before it is used."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx

from modelfetch.errors import Fault, SourceError
from modelfetch.net.answers import Accept, Answer, Ask, judge, strong_etag
from modelfetch.net.body import Body
from modelfetch.net.cancel import Cancellation
from modelfetch.net.client import Limits, Memory
from modelfetch.net.connections import by_proxy, came_from_public, leads_inside, new_client
from modelfetch.net.failures import source_error
from modelfetch.net.urls import Credential, host_of, next_hop, origin

MAX_HOPS = 10
"""Redirects followed for one request; between curl's strict advice (5) and httpx's 20."""
MAX_HEADERS = 256
"""Header fields accepted in one answer; httpx itself would take thousands."""
EXCERPT_BYTES = 8192
"""How much of an unusable body is read: to recognise it, and to free the connection if that is all of it."""
EXCERPT_SECONDS = 0.5
"""How long is spent on that, give or take one read."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Exchange:
    """The connections of one run, and what is asked over them."""

    def __init__(self, limits: Limits, cancel: Cancellation, tls: ssl.SSLContext) -> None:
        self._limits = limits
        self._cancel = cancel
        self._http = new_client(
            httpx.Timeout(limits.stall_timeout, connect=limits.connect_timeout, pool=None), tls
        )

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def open(self, url: str, ask: Ask, *, credential: Credential | None, memory: Memory) -> Body:
        """See :meth:`modelfetch.net.client.Client.open`."""
        while True:
            response, address = self._follow(url, ask, credential, memory)
            asked = _with_etag(ask, memory, address)
            with _closing_on_error(response):
                verdict = judge(asked, _answer(response, asked, redirected=address != url))
                if isinstance(verdict, Accept):
                    memory.etag, memory.etag_origin = strong_etag(_headers(response)), origin(address)
                    return Body(response, verdict, ask.size, self._limits, self._cancel)
            response.close()
            if asked.etag and not verdict.ask.etag:
                memory.etag = ""
            ask = replace(verdict.ask, etag="")  # each hop gets the validator that is its own, or none

    def _follow(
        self, url: str, ask: Ask, credential: Credential | None, memory: Memory
    ) -> tuple[httpx.Response, str]:
        """Send the request, following redirects; the answer and the address it came from."""
        public = False
        for _ in range(MAX_HOPS + 1):
            headers = _range_headers(_with_etag(ask, memory, url))
            if credential is not None:
                headers |= credential.header_for(url)
            if public and leads_inside(url):
                raise _into_private_network(url)
            response = self._send(url, headers)
            with _closing_on_error(response):
                if public and not came_from_public(response, url):
                    raise _into_private_network(url)
                if response.status_code not in _REDIRECTS:
                    return response, url
                public = public or came_from_public(response, url)
                url = next_hop(url, response.headers.get("location"))
                _excerpt(response)
            response.close()
        raise SourceError(Fault.REDIRECT, f"more than {MAX_HOPS} redirects")

    def _send(self, url: str, headers: dict[str, str]) -> httpx.Response:
        """One request. A kept-alive connection that had died meanwhile is replaced once, uncounted."""
        while True:
            self._cancel.check()
            fresh = False

            def trace(name: str, info: dict[str, Any]) -> None:
                nonlocal fresh
                if name.endswith(("connect_tcp.complete", "start_tls.complete")):
                    fresh = True
                    _watch(self._cancel, info["return_value"])

            try:
                request = self._http.build_request("GET", url, headers=headers, extensions={"trace": trace})
                response = self._http.send(request, stream=True, auth=_no_auth)
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                self._cancel.check()
                failure = source_error(error, body=False, proxied=by_proxy(url))
                if not fresh and failure.fault is Fault.CUT:
                    continue
                raise failure from error
            if len(response.headers.raw) > MAX_HEADERS:
                response.close()
                raise SourceError(Fault.PROTOCOL, f"sent more than {MAX_HEADERS} header fields")
            return response


def _no_auth(request: httpx.Request) -> httpx.Request:
    """Keep httpx from making credentials up from URLs or files: ours are in the headers already."""
    return request


def _with_etag(ask: Ask, memory: Memory, url: str) -> Ask:
    if not (ask.start and ask.ranged and memory.etag and memory.etag_origin == origin(url)):
        return ask
    return replace(ask, etag=memory.etag)


def _range_headers(ask: Ask) -> dict[str, str]:
    headers = {"Range": f"bytes={ask.start}-{ask.last}"} if ask.ranged else {}
    return headers | ({"If-Range": ask.etag} if ask.etag else {})


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _answer(response: httpx.Response, ask: Ask, *, redirected: bool) -> Answer:
    length = response.headers.get("content-length", str(ask.size))
    may_be_used = response.status_code == 206 or (response.status_code == 200 and length == str(ask.size))
    excerpt = "" if may_be_used else _excerpt(response)
    return Answer(response.status_code, _headers(response), redirected, excerpt)


def _excerpt(response: httpx.Response) -> str:
    """The beginning of a body that will not be used. Reading a small one to its end frees the connection."""
    data, until = b"", time.monotonic() + EXCERPT_SECONDS
    with contextlib.suppress(httpx.HTTPError):
        for piece in response.iter_raw():
            data += piece
            if len(data) > EXCERPT_BYTES or time.monotonic() > until:
                break
    return data[:EXCERPT_BYTES].decode("latin-1")


@contextlib.contextmanager
def _closing_on_error(response: httpx.Response) -> Iterator[None]:
    try:
        yield
    except BaseException:
        response.close()
        raise


def _watch(cancel: Cancellation, stream: Any) -> None:
    sock = stream.get_extra_info("socket")
    if isinstance(sock, socket.socket):
        cancel.watch(sock)


def _into_private_network(url: str) -> SourceError:
    """A redirect must not choose whom we attack (CVE-2026-5530)."""
    return SourceError(Fault.REDIRECT, f"a redirect into a private network ({host_of(url)})")
