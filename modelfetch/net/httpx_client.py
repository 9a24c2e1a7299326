"""The connections of a client: which proxy they take, whom they trust, whose addresses they lead to."""

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

from modelfetch.cancel import Cancellation
from modelfetch.net import proxies
from modelfetch.net.connect import Addresses, Families
from modelfetch.net.httpcore_backend import Backend
from modelfetch.net.proxies import Proxies, Proxy, not_an_address
from modelfetch.net.tls import tls_context
from modelfetch.net.urls import is_inside, is_public, origin
from modelfetch.version import __version__

_HEADERS = {
    "Accept": "*/*",
    # Ranges index the encoded representation (RFC 9110, 14.1.2), and a decoder would be a bomb's fuse.
    "Accept-Encoding": "identity",
    "User-Agent": f"modelfetch/{__version__}",
}
_POOL: dict[str, Any] = {"max_keepalive_connections": 64, "keepalive_expiry": 60.0}

Authorities = Callable[[], ssl.SSLContext]
"""Gives the TLS context; called when TLS is used. Raises SourceError."""


def new_client(
    timeout: httpx.Timeout,
    cancel: Cancellation | None = None,
    *,
    through: Proxies | None = None,
    authorities: Authorities | None = None,
    families: Families | None = None,
    public_only: bool = False,
) -> httpx.Client:
    """A client that follows no redirect, keeps no cookie, decodes nothing and logs no URL.

    Requests raise SourceError where a proxy or certificate variable of the environment cannot be used.

    Args:
        timeout: Its patience.
        cancel: Wakes it while it connects.
        through: The proxies it takes; None for those of the environment.
        authorities: Whom it trusts; None makes a context of its own.
        families: What is known about the addresses of hosts.
        public_only: Refuse addresses that are not of the public internet, but for a proxy's own.
    """
    _silence_logs()
    addresses = (Addresses(families or Families(), public_only=only) for only in (public_only, False))
    straight, to_proxy = (Backend(each, cancel or Cancellation()) for each in addresses)
    router = _Router(
        through or proxies.from_environment(), authorities or cache(tls_context), straight, to_proxy
    )
    return httpx.Client(
        transport=router,
        trust_env=False,  # what the environment says is read by us, once for all
        follow_redirects=False,
        timeout=timeout,
        headers=_HEADERS,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


class _Router(httpx.BaseTransport):
    """Sends each request its way: straight or through a proxy, with TLS read in only where it is used."""

    def __init__(
        self, through: Proxies, authorities: Authorities, straight: Backend, to_proxy: Backend
    ) -> None:
        self._through = through
        self._authorities = authorities
        self._straight = straight
        self._to_proxy = to_proxy
        self._lock = threading.Lock()
        self._ways: dict[tuple[str, Proxy | None], _Transport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        proxy = self._through.proxy_for(str(request.url)) if self._through.is_set else None
        return self._way(request.url.scheme, proxy).handle_request(request)

    def _way(self, scheme: str, proxy: Proxy | None) -> _Transport:
        with self._lock:
            way = self._ways.get((scheme, proxy))
            if way is None:
                pool = self._pool(scheme) if proxy is None else self._pool_behind(proxy, scheme)
                way = self._ways[scheme, proxy] = _Transport(pool)
            return way

    def _pool(self, scheme: str) -> httpcore.ConnectionPool:
        return httpcore.ConnectionPool(
            ssl_context=self._trust(scheme), network_backend=self._straight, max_connections=None, **_POOL
        )

    def _pool_behind(self, proxy: Proxy, scheme: str) -> httpcore.ConnectionPool:
        try:
            read = httpx.Proxy(proxy.url)
        except (ValueError, httpx.InvalidURL):  # their texts may show the proxy's password
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
            for way in self._ways.values():
                way.close()


class _Transport(httpx.HTTPTransport):
    """What httpx makes itself, but over connections of ours."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:  # the rest is what making a pool takes
        self._pool = pool


def _silence_logs() -> None:
    """Keep signed links out of the logs of whoever logs everything: httpx and httpcore write whole URLs."""
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)


def came_from_public(response: httpx.Response, url: str, *, by_proxy: bool) -> bool:
    """Whether an answer came from the public internet, by the address really connected to.

    Behind a proxy only the URL is left to judge by.
    """
    if by_proxy:
        return not leads_inside(url)
    return is_public(str(response.extensions["network_stream"].get_extra_info("server_addr")[0]))


def leads_inside(url: str) -> bool:
    """Whether a URL itself says that its host is not of the public internet.

    What a name leads to is seen where it is connected to: :class:`modelfetch.net.connect.Addresses`.
    """
    return is_inside(origin(url)[1])
