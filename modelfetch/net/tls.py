"""Trust anchors for TLS: read once per run, in a thread of their own.

Reading the certificates of a system takes 16-36 ms, during which other threads of Python continue, so it runs
in parallel to the rest of the start. Errors in them are raised by requests that use TLS, and by no others.
The module ``ssl`` is loaded with them: a run that uses plain HTTP only saves the 10 ms.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch import threads
from modelfetch.errors import Fault, SourceError, UnavailableError
from modelfetch.model.text import quote

if TYPE_CHECKING:
    import ssl

_BUNDLES: Final = (
    "/etc/ssl/cert.pem",  # Alpine, Arch, BSD, Fedora until 43
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/cert.pem",  # older versions of both
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu
    "/etc/ssl/ca-bundle.pem",  # SUSE
)
"""Where systems store their trust anchors, for a Python whose OpenSSL was built for another path."""


class Trust:
    """A TLS context with the trust anchors, made in a thread when it is needed first. Thread-safe."""

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._has_begun = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to read the trust anchors, unless that has been done; does not wait."""
        with self._lock:
            if not self._has_begun:
                self._thread = threads.start(self._make, "modelfetch-tls")
                if self._thread is None:  # the system refuses more threads
                    self._make()
                self._has_begun = True

    def context(self) -> ssl.SSLContext:
        """Wait for the context, and return it.

        Raises:
            SourceError: A certificate variable of the environment cannot be used.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        assert self._context is not None, "it was made, or failed"
        return self._context

    def wait(self) -> None:
        """Wait until the context is made, or making it has failed."""
        self.start()
        if self._thread is not None:
            self._thread.join()

    def _make(self) -> None:
        try:
            self._context = tls_context()
        except BaseException as error:  # raised again by context(), in the thread that needs it
            self._error = error


def trust_source() -> str:
    """Return what names the trust anchors of :func:`tls_context`: a variable and its value, or the system."""
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        if value := os.environ.get(variable):
            return f"{variable}={value}"
    return "the operating system"


def tls_context() -> ssl.SSLContext:
    """Make a context with the trust anchors that the environment names, else with those of the system.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are the variables of OpenSSL. Without them ``REQUESTS_CA_BUNDLE``
    is used, which companies set for the library requests, and so for pip and older hub libraries.

    Raises:
        SourceError: The file or directory cannot be read or contains no certificate.
        UnavailableError: This Python has no ssl module.
    """
    require_ssl()
    environ = os.environ
    file, directory = environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR")
    if file or directory:
        return _named("SSL_CERT_FILE" if file else "SSL_CERT_DIR", file, directory)
    bundle = environ.get("REQUESTS_CA_BUNDLE")
    if not bundle:
        return _of_the_system()
    is_directory = Path(bundle).is_dir()  # requests accepts either
    return _named("REQUESTS_CA_BUNDLE", None if is_directory else bundle, bundle if is_directory else None)


def require_ssl() -> None:
    """Raise UnavailableError if this Python has no ssl module."""
    try:
        import ssl  # noqa: F401 - only whether there is one
    except ImportError as error:
        if error.name not in ("ssl", "_ssl"):
            raise
        raise no_ssl() from error


def no_ssl() -> UnavailableError:
    """The error for a Python that has no ssl module."""
    return UnavailableError(
        "this Python was built without ssl, so this request is not possible",
        hint="Use another Python; files on this disk are still found and verified.",
    )


def _named(variable: str, file: str | None, directory: str | None) -> ssl.SSLContext:
    """A context with the certificates that ``variable`` names."""
    import ssl

    try:
        return ssl.create_default_context(cafile=file or None, capath=directory or None)
    except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
        why = "contains no certificate" if isinstance(error, ssl.SSLError) else _reason(error)
        raise SourceError(
            Fault.TLS,
            f"no certificate authorities: environment {variable}: {quote(file or directory or '')}: {why}",
            hint=f"Point {variable} at a file of CA certificates in PEM form, or unset it.",
        ) from error


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or "not a path").lower()


def _of_the_system() -> ssl.SSLContext:
    """A context with the trust anchors of the operating system.

    On macOS and Windows truststore asks the system to verify certificates. On other systems truststore would
    read the same files as this function, but again for every connection, and allow one handshake at a time.
    """
    import ssl

    if sys.platform in ("darwin", "win32"):
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_default_verify_paths()
    if not context.cert_store_stats()["x509_ca"] and (bundle := _bundle()):
        context.load_verify_locations(bundle)
    return context


def _bundle() -> str | None:
    return next((path for path in _BUNDLES if Path(path).is_file()), None)
