"""Makes httpx clients: with our proxies, trust anchors and network backend, and without side channels.

httpx itself reads nothing from the environment, follows no redirect, stores no cookie, decodes no content and
logs no URL. All proxy settings come from :mod:`modelfetch.net.proxies`.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

from modelfetch import tracing
from modelfetch.cancel import Cancellation
from modelfetch.net import proxies
from modelfetch.net.connect import Addresses, Families
from modelfetch.net.httpcore_backend import Backend
from modelfetch.net.proxies import Proxies, Proxy, not_an_address
from modelfetch.net.tls import tls_context
from modelfetch.net.transport import FIELDS, IDLE_SECONDS, MAX_IDLE

_POOL: dict[str, Any] = {"max_keepalive_connections": MAX_IDLE, "keepalive_expiry": IDLE_SECONDS}

Authorities = Callable[[], ssl.SSLContext]
"""Returns the TLS context; called when TLS is used first. Raises SourceError."""


def new_client(
    timeout: httpx.Timeout,
    cancel: Cancellation | None = None,
    *,
    through: Proxies | None = None,
    authorities: Authorities | None = None,
    families: Families | None = None,
    public_only: bool = False,
) -> httpx.Client:
    """Make a client.

    Its requests raise SourceError if a proxy or certificate variable of the environment cannot be used.

    Args:
        timeout: Default timeouts.
        cancel: Wakes blocked connects and reads when the run is cancelled.
        through: The proxies; None for those of the environment.
        authorities: Trust anchors; None reads those of the environment or the system.
        families: Which address families answered; None for nothing known yet.
        public_only: Refuse addresses outside the public internet, except for that of a proxy.
    """
    _silence_logs()
    # A proxy is set by the user, so its address may be private even where those of servers may not.
    addresses = (Addresses(families or Families(), public_only=only) for only in (public_only, False))
    direct, to_proxy = (Backend(each, cancel or Cancellation()) for each in addresses)
    router = _Router(
        through or proxies.from_environment(), authorities or cache(tls_context), direct, to_proxy
    )
    return httpx.Client(
        transport=router,
        trust_env=False,  # the variables are read by modelfetch.net.proxies and tls
        follow_redirects=False,
        timeout=timeout,
        headers=dict(field.split(": ", 1) for field in FIELDS),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


class _Router(httpx.BaseTransport):
    """Sends each request directly or through its proxy. Trust anchors are loaded only if TLS is used.

    Args:
        through: The proxies.
        authorities: Trust anchors.
        direct: Backend for connections to servers.
        to_proxy: Backend for connections to proxies.
    """

    def __init__(
        self, through: Proxies, authorities: Authorities, direct: Backend, to_proxy: Backend
    ) -> None:
        self._through = through
        self._authorities = authorities
        self._direct = direct
        self._to_proxy = to_proxy
        self._lock = threading.Lock()
        self._transports: dict[tuple[str, Proxy | None], _Transport] = {}
        """By scheme and proxy, each with a connection pool of its own."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        proxy = self._through.proxy_for(str(request.url)) if self._through.is_set else None
        transport = self._transport(request.url.scheme, proxy)
        if tracing.active is None:
            return transport.handle_request(request)
        from modelfetch.net import exchange_trace  # here, as few runs print requests

        return exchange_trace.send(tracing.active, transport, request, proxy, self._through)

    def _transport(self, scheme: str, proxy: Proxy | None) -> _Transport:
        """The transport for a scheme and a proxy, created at its first use."""
        with self._lock:
            transport = self._transports.get((scheme, proxy))
            if transport is None:
                pool = self._pool(scheme) if proxy is None else self._proxy_pool(proxy, scheme)
                transport = self._transports[scheme, proxy] = _Transport(pool)
            return transport

    def _pool(self, scheme: str) -> httpcore.ConnectionPool:
        return httpcore.ConnectionPool(
            ssl_context=self._trust(scheme), network_backend=self._direct, max_connections=None, **_POOL
        )

    def _proxy_pool(self, proxy: Proxy, scheme: str) -> httpcore.ConnectionPool:
        """A connection pool that leads through a proxy; by CONNECT if ``scheme`` is https."""
        try:
            read = httpx.Proxy(proxy.url)
        except (ValueError, httpx.InvalidURL):  # "from None": their messages may contain the proxy's password
            raise not_an_address(proxy.variable) from None
        url = read.url
        return httpcore.HTTPProxy(
            proxy_url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            proxy_auth=read.raw_auth,
            ssl_context=self._trust(scheme),
            proxy_ssl_context=self._trust(url.scheme),
            network_backend=self._to_proxy,
            max_connections=None,
            **_POOL,
        )

    def _trust(self, scheme: str) -> ssl.SSLContext | None:
        return self._authorities() if scheme == "https" else None

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for transport in self._transports.values():
                transport.close()


class _Transport(httpx.HTTPTransport):
    """The transport of httpx over a connection pool with our network backend."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        # HTTPTransport.__init__ is not called: all it does is to make a pool, and it takes no network
        # backend.
        self._pool = pool


def _silence_logs() -> None:
    """Keep signed links out of logs at level INFO and below, to which httpx and httpcore write whole URLs.

    A level that the user has set is not changed.
    """
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
