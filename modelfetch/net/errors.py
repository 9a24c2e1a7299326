"""Where exceptions of httpx and sockets become ours. Foreign texts are never shown: they hold URLs."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx

from modelfetch.errors import Fault, SourceError
from modelfetch.model.text import sanitise
from modelfetch.net.responses import Unresolved

if TYPE_CHECKING:
    from modelfetch.net.proxies import Proxy

# The two texts by which h11 says that the other side hung up; its other errors are broken framing.
_HUNG_UP = ("peer closed connection", "Server disconnected")
# The text by which httpx, although it follows no redirect, refuses a Location that it cannot parse.
_BAD_LOCATION = "Invalid URL in location header"


def source_error(error: Exception, *, body: bool, proxy: Proxy | None = None) -> SourceError:
    """Translate an exception of httpx, or of a socket that a body was read from.

    Args:
        error: What was raised.
        body: Whether it happened while reading the body, as opposed to before the first byte of it.
        proxy: What the connection was to; it then is to blame when it could not be made.
    """
    if isinstance(error, httpx.ProxyError):
        return _proxy_error(error, proxy)
    found = _translate(error, body=body)
    if proxy is not None and found.fault is Fault.CONNECT:
        message = f"the proxy cannot be reached: {found.message}"
        return SourceError(Fault.PROXY, message, hint=proxy.hint(), retry=found.retry)
    return found


def is_no_http(error: Exception, found: SourceError) -> bool:
    """Whether what came was no answer at all.

    Args:
        error: What was raised.
        found: What it was translated to.
    """
    return isinstance(error, httpx.RemoteProtocolError) and found.fault is Fault.PROTOCOL


def wants_credentials(proxy: Proxy | None) -> SourceError:
    """A proxy answered 407."""
    variable = "HTTPS_PROXY" if proxy is None else proxy.variable
    return SourceError(
        Fault.PROXY, "the proxy wants credentials (407)", hint=f"Put user and password into {variable}."
    )


def _translate(error: Exception, *, body: bool) -> SourceError:
    match error:
        case httpx.ConnectTimeout():
            return SourceError(Fault.CONNECT, "no connection in time")
        case httpx.ConnectError():
            return _connect_error(error)
        case httpx.ReadTimeout() | httpx.WriteTimeout() | TimeoutError():
            return _timeout(body=body)
        case httpx.NetworkError() | OSError():
            return _cut(body=body)
        case httpx.RemoteProtocolError():
            return _not_http(str(error), body=body)
        case UnicodeError():
            return SourceError(Fault.PROTOCOL, "the address has no usable host name")
        case _:
            return SourceError(Fault.PROTOCOL, f"the request could not be made ({type(error).__name__})")


def _cut(*, body: bool) -> SourceError:
    return SourceError(Fault.CUT, "the connection was cut" + ("" if body else " before an answer"))


def _not_http(text: str, *, body: bool) -> SourceError:
    if text.startswith(_HUNG_UP):
        return _cut(body=body)
    if text.startswith(_BAD_LOCATION):
        return SourceError(Fault.REDIRECT, "a redirect to something that is not a URL")
    return SourceError(Fault.PROTOCOL, "sent an answer that is not valid HTTP")


def _proxy_error(error: httpx.ProxyError, proxy: Proxy | None) -> SourceError:
    """The proxy answered CONNECT with another status than 2xx; httpx tells it in its text only."""
    if str(error).startswith("407"):
        return wants_credentials(proxy)
    hint = "Check HTTPS_PROXY and NO_PROXY." if proxy is None else proxy.hint()
    return SourceError(Fault.PROXY, "the proxy refused", hint=hint)


def _timeout(*, body: bool) -> SourceError:
    if body:
        return SourceError(Fault.STALL, "stalled: no bytes in time")
    return SourceError(Fault.TIMEOUT, "no answer in time")


def _connect_error(error: Exception) -> SourceError:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return SourceError(
                Fault.TLS,
                f"certificate refused: {sanitise(cause.verify_message)}",
                hint="Behind a company proxy, point SSL_CERT_FILE at its CA certificate.",
            )
        if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return SourceError(Fault.CUT, "the connection was cut in the TLS handshake")
        if isinstance(cause, ssl.SSLError):
            return SourceError(Fault.TLS, "the TLS handshake failed")
        if isinstance(cause, socket.gaierror):
            return _unresolved(cause)
        if isinstance(cause, OSError) and cause.strerror:
            return SourceError(Fault.CONNECT, cause.strerror.lower())
    return SourceError(Fault.CONNECT, "no connection")


def _unresolved(cause: socket.gaierror) -> Unresolved:
    if cause.errno == socket.EAI_AGAIN:
        return Unresolved("the name cannot be resolved at the moment")
    return Unresolved("the name is not known", retry=False)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
