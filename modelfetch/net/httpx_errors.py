"""Translates exceptions of httpx to :class:`modelfetch.errors.SourceError`.

Most of them wrap an exception of a socket or of TLS, which :mod:`modelfetch.net.errors` translates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from modelfetch.errors import Fault, SourceError
from modelfetch.net.errors import connect_error, cut, timed_out, wants_credentials

if TYPE_CHECKING:
    from modelfetch.net.proxies import Proxy

# How the messages of h11 begin when the server closed the connection; its other errors are broken framing.
_HUNG_UP = ("peer closed connection", "Server disconnected")
# httpx parses the Location of a redirect even if it does not follow it, and refuses a malformed one like
# this.
_BAD_LOCATION = "Invalid URL in location header"


def source_error(error: Exception, *, body: bool, proxy: Proxy | None = None) -> SourceError:
    """Translate an exception of httpx, or of a socket that a body was read from.

    Args:
        error: The exception.
        body: Whether it was raised while reading the body, as opposed to before its first byte.
        proxy: The proxy that the connection led to, if any; it is named if connecting failed.
    """
    if isinstance(error, httpx.ProxyError):
        return _proxy_error(error, proxy)
    found = _translate(error, body=body)
    if proxy is not None and found.fault is Fault.CONNECT:
        message = f"the proxy cannot be reached: {found.message}"
        return SourceError(Fault.PROXY, message, hint=proxy.hint(), retry=found.retry)
    return found


def is_no_http(error: Exception, found: SourceError) -> bool:
    """Whether the bytes received were no HTTP response.

    Args:
        error: The exception.
        found: Its translation. A closed connection is a ``RemoteProtocolError`` too, but another fault.
    """
    return isinstance(error, httpx.RemoteProtocolError) and found.fault is Fault.PROTOCOL


def _translate(error: Exception, *, body: bool) -> SourceError:
    """Translate by class. Subclasses come before their base classes: a TimeoutError is an OSError too."""
    match error:
        case httpx.ConnectTimeout():
            return SourceError(Fault.CONNECT, "no connection in time")
        case httpx.ConnectError():
            return connect_error(error)
        case httpx.ReadTimeout() | httpx.WriteTimeout() | TimeoutError():
            return timed_out(body=body)
        case httpx.NetworkError() | OSError():
            return cut(body=body)
        case httpx.RemoteProtocolError():
            return _not_http(str(error), body=body)
        case UnicodeError():
            return connect_error(error)
        case _:
            return SourceError(Fault.PROTOCOL, f"the request could not be made ({type(error).__name__})")


def _not_http(text: str, *, body: bool) -> SourceError:
    if text.startswith(_HUNG_UP):
        return cut(body=body)
    if text.startswith(_BAD_LOCATION):
        return SourceError(Fault.REDIRECT, "a redirect to an invalid URL")
    return SourceError(Fault.PROTOCOL, "sent an answer that is not valid HTTP")


def _proxy_error(error: httpx.ProxyError, proxy: Proxy | None) -> SourceError:
    """The proxy refused CONNECT. Only the text of the exception contains the status."""
    if str(error).startswith("407"):
        return wants_credentials(proxy)
    hint = "Check HTTPS_PROXY and NO_PROXY." if proxy is None else proxy.hint()
    return SourceError(Fault.PROXY, "the proxy refused the connection", hint=hint)
