"""The one place where httpx's exceptions become ours. Foreign texts are never shown: they hold URLs."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx

from modelfetch.errors import Fault, SourceError

# The two texts by which h11 says that the other side hung up; its other errors are broken framing.
_HUNG_UP = ("peer closed connection", "Server disconnected")


def source_error(error: Exception, *, body: bool) -> SourceError:
    """Translate an exception of httpx.

    Args:
        error: What httpx raised.
        body: Whether it happened while reading the body, as opposed to before the first byte of it.
    """
    match error:
        case httpx.ConnectTimeout():
            return SourceError(Fault.CONNECT, "no connection in time")
        case httpx.ConnectError():
            return _connect_error(error)
        case httpx.ProxyError():
            return SourceError(Fault.PROXY, "the proxy refused", hint="Check HTTPS_PROXY and NO_PROXY.")
        case httpx.ReadTimeout() | httpx.WriteTimeout():
            return _timeout(body=body)
        case httpx.RemoteProtocolError() if not str(error).startswith(_HUNG_UP):
            return SourceError(Fault.PROTOCOL, "sent an answer that is not valid HTTP")
        case httpx.NetworkError() | httpx.RemoteProtocolError():
            return SourceError(Fault.CUT, "the connection was cut" + ("" if body else " before an answer"))
        case _:
            return SourceError(Fault.PROTOCOL, f"the request could not be made ({type(error).__name__})")


def _timeout(*, body: bool) -> SourceError:
    if body:
        return SourceError(Fault.STALL, "stalled: no bytes in time")
    return SourceError(Fault.TIMEOUT, "no answer in time")


def _connect_error(error: Exception) -> SourceError:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return SourceError(
                Fault.TLS,
                f"certificate refused: {cause.verify_message}",
                hint="Behind a company proxy, point SSL_CERT_FILE at its CA certificate.",
            )
        if isinstance(cause, ssl.SSLError):
            return SourceError(Fault.TLS, "the TLS handshake failed")
        if isinstance(cause, socket.gaierror):
            return _unresolved(cause)
        if isinstance(cause, OSError) and cause.strerror:
            return SourceError(Fault.CONNECT, cause.strerror.lower())
    return SourceError(Fault.CONNECT, "no connection")


def _unresolved(cause: socket.gaierror) -> SourceError:
    if cause.errno == socket.EAI_AGAIN:
        return SourceError(Fault.CONNECT, "the name cannot be resolved for now")
    return SourceError(Fault.CONNECT, "the name is not known", retry=False)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
