"""Translates exceptions of sockets and TLS to :class:`modelfetch.errors.SourceError`.

The texts of those exceptions are not shown: they may contain URLs, and these the signature of a signed link.
Each failure gets a fault, which decides on retries, and a message of our own. For those of httpx see
:mod:`modelfetch.net.httpx_errors`.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelfetch.errors import Fault, SourceError
from modelfetch.model.text import sanitize
from modelfetch.net.responses import Unresolved

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from modelfetch.net.proxies import Proxy
    from modelfetch.net.transport import Response


_UNTRUSTED = "If a company proxy inspects TLS, point SSL_CERT_FILE at its CA certificate."
_DATES = "Check the clock of this machine. If it is right, the server has to renew its certificate."
_OTHER_HOST = "Check the address: another server answers there, such as the login page of a network."
# By X509_V_ERR_* of OpenSSL (x509_vfy.h): not yet valid, expired; another host name, another IP address.
_CERTIFICATE_HINTS = {9: _DATES, 10: _DATES, 62: _OTHER_HOST, 64: _OTHER_HOST}


def socket_error(error: OSError, *, body: bool) -> SourceError:
    """Translate an exception of a connected socket.

    Args:
        error: The exception.
        body: Whether it was raised while reading the body, as opposed to before its first byte.
    """
    if isinstance(error, TimeoutError):
        return timed_out(body=body)
    return cut(body=body)


def wants_credentials(proxy: Proxy | None) -> SourceError:
    """The error for a proxy that answered 407 (RFC 9110, 15.5.8)."""
    variable = "HTTPS_PROXY" if proxy is None else proxy.variable
    return SourceError(
        Fault.PROXY,
        "the proxy requires credentials (407)",
        hint=f"Put user and password into {variable}, before the host: USER:PASSWORD@HOST.",
    )


def cut(*, body: bool) -> SourceError:
    """The error for a connection that ended too early."""
    return SourceError(Fault.CUT, "the connection was cut" + ("" if body else " before an answer"))


def timed_out(*, body: bool) -> SourceError:
    """The error for a server that sent nothing in time."""
    if body:
        return SourceError(Fault.STALL, "stalled: no data in time")
    return SourceError(Fault.TIMEOUT, "no answer in time")


def connect_error(error: Exception) -> SourceError:
    """Translate a failure to connect or to set up TLS by its original cause."""
    if isinstance(error, TimeoutError):
        return SourceError(Fault.CONNECT, "no connection in time")
    if isinstance(error, UnicodeError):
        return SourceError(Fault.PROTOCOL, "the URL has no valid host name")
    # httpx and httpcore wrap the original exception, which is the one that says why.
    for cause in _causes(error):
        if (found := _tls_error(cause)) is not None:
            return found
        if isinstance(cause, socket.gaierror):
            return _unresolved(cause)
        if isinstance(cause, OSError) and cause.strerror:
            return SourceError(Fault.CONNECT, cause.strerror.lower())
    return SourceError(Fault.CONNECT, "no connection")


def _tls_error(error: BaseException) -> SourceError | None:
    """Translate an exception of TLS; None for any other."""
    ssl = sys.modules.get("ssl")  # loading it takes 10 ms; where it is not loaded, no error is one of TLS
    if ssl is None or not isinstance(error, ssl.SSLError):
        return None
    if isinstance(error, ssl.SSLCertVerificationError):
        return _refused_certificate(error)
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return SourceError(Fault.CUT, "the connection was cut in the TLS handshake")
    return SourceError(Fault.TLS, "the TLS handshake failed")


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


class NamingHost:
    """A context that stores in a failure which host caused it, if that is another one than the source's own.

    A class, like the next one: entering a generator takes three times as long, for each small file.
    """

    __slots__ = ("_first_host", "_host")

    def __init__(self, host: str, first_host: str) -> None:
        self._host = host
        self._first_host = first_host

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, SourceError):
            error.elsewhere = self._host if self._host != self._first_host else ""


class ClosingOnError:
    """A context that closes a response whose processing fails, which frees its connection."""

    __slots__ = ("_response",)

    def __init__(self, response: Response) -> None:
        self._response = response

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._response.close()
