"""Reaches a host layer by layer, and reports what each layer answered and which one failed.

The layers are resolving the name, connecting, the proxy, TLS, and the answer to one small request. Resolving
and connecting are done here one by one, with the same functions as for every request; the request itself is
sent by a client of :mod:`modelfetch.net.httpx_client`. Through a proxy, the name and the connection are those
of the proxy, because the proxy resolves the host. For example, of a host behind a proxy that inspects TLS::

    dns, tcp, proxy passed; failed: tls, certificate refused: self-signed certificate; issuer: Example Proxy

No redirect is followed, no credential but that of a proxy is sent, and no body is read.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.net import proxies
from modelfetch.net.certificate import Certificate, read_certificate
from modelfetch.net.connect import Addresses, Families, Resolver, connect
from modelfetch.net.errors import wants_credentials
from modelfetch.net.httpx_client import new_client
from modelfetch.net.httpx_errors import source_error
from modelfetch.net.probe import Question
from modelfetch.net.proxies import Proxies, Proxy
from modelfetch.net.tls import tls_context
from modelfetch.net.urls import host_of, is_secure, origin

LAYER_SECONDS: Final = 5.0
"""Time limit of one layer, in seconds: a host that needs longer is not useful as a source."""
_NEEDS_PROXY_CREDENTIALS: Final = 407


class Layer(StrEnum):
    """The layers of a host, in the order in which they are reached."""

    DNS = "dns"
    TCP = "tcp"
    PROXY = "proxy"
    TLS = "tls"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the layers of one host answered. The facts of layers that were not reached are empty."""

    url: str
    """Address of the request."""
    is_proxied: bool = False
    """Whether a proxy is set for this host."""
    proxy: Proxy | None = None
    """That proxy, if its address is valid."""
    addresses: tuple[str, ...] = ()
    """The addresses of the host, or of its proxy."""
    families: tuple[str, ...] = ()
    """``IPv4``, ``IPv6``, or both."""
    peer: str = ""
    """The address that answered."""
    connect_seconds: float = 0.0
    tls_version: str = ""
    certificate: Certificate | None = None
    """What the host presented; also if it was refused."""
    status: int | None = None
    answer_seconds: float = 0.0
    date: datetime | None = None
    """The host's clock, by its Date field."""
    at: datetime | None = None
    """This machine's clock when that field was received."""
    failed: Layer | None = None
    """The first layer that failed; None if all passed."""
    error: str = ""
    """Why it failed."""
    hint: str = ""
    """What to do, if that layer knows it."""

    @property
    def reached_by(self) -> str:
        """``host:port`` of what the name and the connection are of: the host, or its proxy."""
        return host_of(self.url if self.proxy is None else self.proxy.url)


class LayerProbe:
    """Inspects hosts; one for all of them, used by a thread for each.

    Args:
        cancel: Ends all of them.
        through: The proxies; None for those of the environment.
        seconds: Time limit of a layer.
        resolver: ``socket.getaddrinfo``.
    """

    def __init__(
        self,
        cancel: Cancellation,
        *,
        through: Proxies | None = None,
        seconds: float = LAYER_SECONDS,
        resolver: Resolver = socket.getaddrinfo,
    ) -> None:
        self._through = through or proxies.from_environment()
        self._cancel = cancel
        self._seconds = seconds
        self._addresses = Addresses(Families(), public_only=False, resolver=resolver)
        self._client = new_client(
            httpx.Timeout(seconds), cancel, through=self._through, authorities=cache(tls_context)
        )

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def inspect(self, question: Question, report: Callable[[HostFacts], None]) -> HostFacts:
        """Reach one host as far as possible.

        Args:
            question: The request to send.
            report: Receives the facts before each layer, with that layer as the one that failed for lack of
                an answer. They hold if the caller stops waiting: a look-up has no time limit of its own.

        Returns:
            The facts of all layers.
        """
        facts = HostFacts(question.url)
        for layer, step in (
            (Layer.PROXY, self._choose_proxy),
            (Layer.DNS, self._resolve),
            (Layer.TCP, self._connect),
            (Layer.HTTP, self._ask(question)),
        ):
            report(replace(facts, failed=layer, error="no answer in time"))
            facts = step(facts)
            if facts.failed is not None:
                break
        report(facts)
        return facts

    def _choose_proxy(self, facts: HostFacts) -> HostFacts:
        facts = replace(facts, is_proxied=self._through.is_proxied(facts.url))
        try:
            return replace(facts, proxy=self._through.proxy_for(facts.url))
        except SourceError as error:
            return _failed(facts, Layer.PROXY, error)

    def _resolve(self, facts: HostFacts) -> HostFacts:
        try:
            found = self._addresses.resolve(*_address(facts))
        except (OSError, UnicodeError, ValueError) as error:
            return _failed(facts, Layer.DNS, _translate(error))
        families: dict[int, str] = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
        return replace(
            facts,
            addresses=tuple(str(address.sockaddr[0]) for address in found),
            families=tuple(dict.fromkeys(families.get(address.family, "other") for address in found)),
        )

    def _connect(self, facts: HostFacts) -> HostFacts:
        began = time.monotonic()
        try:
            with closing(self._open(facts)) as sock:
                peer = str(sock.getpeername()[0])
        except OSError as error:
            return _failed(facts, Layer.TCP, _translate(error))
        return replace(facts, peer=peer, connect_seconds=time.monotonic() - began)

    def _open(self, facts: HostFacts) -> socket.socket:
        return connect(self._addresses.resolve(*_address(facts)), self._seconds, self._cancel)

    def _ask(self, question: Question) -> Callable[[HostFacts], HostFacts]:
        return lambda facts: self._send(question, facts)

    def _send(self, question: Question, facts: HostFacts) -> HostFacts:
        """Send the request, and find the layer of a failure: by its fault, and by what was started."""
        started: list[str] = []
        began = time.monotonic()
        try:
            with self._client.stream(
                "HEAD" if question.is_head else "GET",
                question.url,
                headers={} if question.is_head else {"Range": "bytes=0-0"},
                extensions={"trace": lambda name, _info: started.append(name)},
            ) as response:
                return _answered(facts, response, time.monotonic() - began)
        except SourceError as error:
            failure = error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            failure = source_error(error, body=False, proxy=facts.proxy)
        layer = _layer_of(failure, started, is_tls=is_secure(question.url))
        facts = _failed(facts, layer, failure)
        if layer is Layer.TLS and failure.fault is Fault.CONNECT:  # the connection itself was made
            facts = replace(facts, error="no answer to the TLS handshake in time")
        return self._with_certificate(facts) if layer is Layer.TLS else facts

    def _with_certificate(self, facts: HostFacts) -> HostFacts:
        """Add the certificate that was refused, which says who issued it and when it is valid.

        It is received over a second connection that verifies nothing. Nothing is sent over it, and nothing
        else is read from it. Not through a proxy, where it would take another tunnel.
        """
        if facts.proxy is not None:
            return facts
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with closing(self._open(facts)) as sock:
                sock.settimeout(self._seconds)
                with context.wrap_socket(sock, server_hostname=origin(facts.url)[1]) as secured:
                    der = secured.getpeercert(True)
        except (OSError, ValueError, Cancelled):
            return facts
        return replace(facts, certificate=read_certificate(der or b""))


def _address(facts: HostFacts) -> tuple[str, int]:
    """Host and port to connect to: of the proxy if there is one.

    Raises:
        ValueError: The URL has no valid port.
    """
    _, host, port = origin(facts.url if facts.proxy is None else facts.proxy.url)
    if facts.proxy is not None and urlsplit(facts.proxy.url).port is None:
        port = 443 if is_secure(facts.proxy.url) else 80  # as httpcore
    return host, port


def _translate(error: Exception) -> SourceError:
    """Translate an error of resolving or connecting, with the words of a request that fails so."""
    if isinstance(error, TimeoutError):
        return SourceError(Fault.CONNECT, "no connection in time")
    wrapped = httpx.ConnectError("")
    wrapped.__cause__ = error
    return source_error(wrapped if isinstance(error, OSError) else error, body=False)


def _layer_of(error: SourceError, started: list[str], *, is_tls: bool) -> Layer:
    if error.fault in (Fault.TLS, Fault.PROXY):
        return Layer.TLS if error.fault is Fault.TLS else Layer.PROXY
    # A handshake that was cut or took too long has the fault of the connection, which was made before.
    handshakes = [name for name in started if ".start_tls." in name]
    is_in_handshake = is_tls and handshakes and not handshakes[-1].endswith(".complete")
    return Layer.TLS if is_in_handshake else Layer.HTTP


def _failed(facts: HostFacts, layer: Layer, error: SourceError) -> HostFacts:
    return replace(facts, failed=layer, error=error.message, hint=error.hint)


def _answered(facts: HostFacts, response: httpx.Response, seconds: float) -> HostFacts:
    """Add the answer, and what TLS agreed on before it."""
    if response.status_code == _NEEDS_PROXY_CREDENTIALS:
        return _failed(facts, Layer.PROXY, wants_credentials(facts.proxy))
    facts = replace(
        facts,
        status=response.status_code,
        answer_seconds=seconds,
        date=_date(response.headers.get("date", "")),
        at=datetime.now(UTC),
    )
    tls: Any = response.extensions["network_stream"].get_extra_info("ssl_object")
    if tls is None or not is_secure(facts.url):
        return facts
    certificate = read_certificate(tls.getpeercert(True) or b"")
    return replace(facts, certificate=certificate, tls_version=str(tls.version() or ""))


def _date(text: str) -> datetime | None:
    """Read a Date field (RFC 9110, 6.6.1); None if it is missing or malformed."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
