"""Translates exceptions of httpx, TLS and sockets to :class:`modelfetch.errors.SourceError`.

The texts of those exceptions are not shown: they may contain URLs, and these the signature of a signed link.
Each failure gets a fault, which decides on retries, and a message of our own.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx

from modelfetch.errors import Fault, SourceError
from modelfetch.model.text import sanitize
from modelfetch.net.responses import Unresolved

if TYPE_CHECKING:
    from modelfetch.net.proxies import Proxy

# How the messages of h11 begin when the server closed the connection; its other errors are broken framing.
_HUNG_UP = ("peer closed connection", "Server disconnected")
# httpx parses the Location of a redirect even if it does not follow it, and refuses a malformed one like
# this.
_BAD_LOCATION = "Invalid URL in location header"

_UNTRUSTED = "If a company proxy inspects TLS, point SSL_CERT_FILE at its CA certificate."
_DATES = "Check the clock of this machine. If it is right, the server has to renew its certificate."
_OTHER_HOST = "Check the address: another server answers there, such as the login page of a network."
# By X509_V_ERR_* of OpenSSL (x509_vfy.h): not yet valid, expired; another host name, another IP address.
_CERTIFICATE_HINTS = {9: _DATES, 10: _DATES, 62: _OTHER_HOST, 64: _OTHER_HOST}


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


def wants_credentials(proxy: Proxy | None) -> SourceError:
    """The error for a proxy that answered 407 (RFC 9110, 15.5.8)."""
    variable = "HTTPS_PROXY" if proxy is None else proxy.variable
    return SourceError(
        Fault.PROXY,
        "the proxy requires credentials (407)",
        hint=f"Put user and password into {variable}, before the host: USER:PASSWORD@HOST.",
    )


def _translate(error: Exception, *, body: bool) -> SourceError:
    """Translate by class. Subclasses come before their base classes: a TimeoutError is an OSError too."""
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
            return SourceError(Fault.PROTOCOL, "the URL has no valid host name")
        case _:
            return SourceError(Fault.PROTOCOL, f"the request could not be made ({type(error).__name__})")


def _cut(*, body: bool) -> SourceError:
    return SourceError(Fault.CUT, "the connection was cut" + ("" if body else " before an answer"))


def _not_http(text: str, *, body: bool) -> SourceError:
    if text.startswith(_HUNG_UP):
        return _cut(body=body)
    if text.startswith(_BAD_LOCATION):
        return SourceError(Fault.REDIRECT, "a redirect to an invalid URL")
    return SourceError(Fault.PROTOCOL, "sent an answer that is not valid HTTP")


def _proxy_error(error: httpx.ProxyError, proxy: Proxy | None) -> SourceError:
    """The proxy refused CONNECT. Only the text of the exception contains the status."""
    if str(error).startswith("407"):
        return wants_credentials(proxy)
    hint = "Check HTTPS_PROXY and NO_PROXY." if proxy is None else proxy.hint()
    return SourceError(Fault.PROXY, "the proxy refused the connection", hint=hint)


def _timeout(*, body: bool) -> SourceError:
    if body:
        return SourceError(Fault.STALL, "stalled: no data in time")
    return SourceError(Fault.TIMEOUT, "no answer in time")


def _connect_error(error: Exception) -> SourceError:
    """Translate a failure to connect or to set up TLS by its original cause."""
    # httpx and httpcore wrap the original exception, which is the one that says why.
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _refused_certificate(cause)
        if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return SourceError(Fault.CUT, "the connection was cut in the TLS handshake")
        if isinstance(cause, ssl.SSLError):
            return SourceError(Fault.TLS, "the TLS handshake failed")
        if isinstance(cause, socket.gaierror):
            return _unresolved(cause)
        if isinstance(cause, OSError) and cause.strerror:
            return SourceError(Fault.CONNECT, cause.strerror.lower())
    return SourceError(Fault.CONNECT, "no connection")


def _refused_certificate(cause: ssl.SSLCertVerificationError) -> SourceError:
    """The error for a certificate that does not verify; more trust anchors help only an unknown issuer."""
    code = getattr(cause, "verify_code", 0)  # some verifiers of other systems set none
    message = f"certificate refused: {sanitize(cause.verify_message).removesuffix('.')}"
    return SourceError(Fault.TLS, message, hint=_CERTIFICATE_HINTS.get(code, _UNTRUSTED))


def _unresolved(cause: socket.gaierror) -> Unresolved:
    if cause.errno == socket.EAI_AGAIN:
        return Unresolved("cannot resolve host at the moment")
    return Unresolved("cannot resolve host", retry=False)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
