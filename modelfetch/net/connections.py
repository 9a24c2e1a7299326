"""The connections of a client: which proxy they take, whose addresses they lead to."""

from __future__ import annotations

import logging
import socket
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from modelfetch import __version__
from modelfetch.errors import ConfigError
from modelfetch.net.tls import tls_context
from modelfetch.net.urls import is_public, origin

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts never asked by proxy."""

_HEADERS = {
    "Accept": "*/*",
    # Ranges index the encoded representation (RFC 9110, 14.1.2), and a decoder would be a bomb's fuse.
    "Accept-Encoding": "identity",
    "User-Agent": f"modelfetch/{__version__}",
}


def new_client(timeout: httpx.Timeout, tls: ssl.SSLContext | None = None) -> httpx.Client:
    """A client that follows no redirect, keeps no cookie, decodes nothing and logs no URL.

    Args:
        timeout: Its patience.
        tls: Whom it trusts; None makes a context of its own.

    Raises:
        ConfigError: A proxy or certificate variable of the environment cannot be used.
    """
    _silence_logs()
    tls = tls or tls_context()
    try:
        return httpx.Client(
            verify=tls,
            follow_redirects=False,
            timeout=timeout,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=60.0),
            headers=_HEADERS,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            mounts={f"all://{'[::1]' if host == '::1' else host}": None for host in _LOOPBACK},
        )
    except (ValueError, ImportError, httpx.InvalidURL):  # their texts may show the proxy's password
        raise ConfigError(
            "environment HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY: not usable",
            hint="Write a proxy as http://host:port; SOCKS proxies are not supported.",
        ) from None


def _silence_logs() -> None:
    """Keep signed links out of the logs of whoever logs everything: httpx and httpcore write whole URLs."""
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)


def by_proxy(url: str) -> bool:
    """Whether a request goes through a proxy, as the environment says."""
    parts = urlsplit(url)
    if parts.hostname in _LOOPBACK:
        return False
    proxies = getproxies()
    return (parts.scheme in proxies or "all" in proxies) and not proxy_bypass(parts.netloc)


def came_from_public(response: httpx.Response, url: str) -> bool:
    """Whether an answer came from the public internet, by the address really connected to.

    Behind a proxy, or after a reset, only the URL is left to judge by.
    """
    peer = "" if by_proxy(url) else _peer(response)
    return is_public(peer) if peer else not leads_inside(url)


def _peer(response: httpx.Response) -> str:
    try:
        return str(response.extensions["network_stream"].get_extra_info("server_addr")[0])
    except OSError:  # reset meanwhile
        return ""


def leads_inside(url: str) -> bool:
    """Whether the host of a URL has an address that is not public.

    A name that a proxy resolves is not looked up; an address is an address in any spelling, ``0x7f.1`` too.
    """
    _, host, port = origin(url)
    if f".{host}".rstrip(".").endswith(".localhost"):  # RFC 6761, 6.3
        return True
    flags = socket.AI_NUMERICHOST if by_proxy(url) else 0
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError):
        return False  # the connection will fail, with a better message
    return not all(is_public(str(entry[4][0])) for entry in found)
