"""Whom TLS trusts: read once for a run, beside the imports.

A system's authorities take 16-36 ms to read, during which other threads of Python run on. What is wrong with
them matters to requests under TLS, and to no others.
"""

from __future__ import annotations

import os
import ssl
import sys
import threading
from pathlib import Path
from typing import Final

from modelfetch import threads
from modelfetch.errors import Fault, SourceError
from modelfetch.model.text import quote

_BUNDLES: Final = (
    "/etc/ssl/cert.pem",  # Alpine, Arch, BSD, Fedora until 43
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/cert.pem",  # older ones of both
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu
    "/etc/ssl/ca-bundle.pem",  # SUSE
)
"""Where systems keep their authorities, for a Python whose OpenSSL was built to look elsewhere."""


class Trust:
    """A TLS context, made in a thread of its own, and only where somebody needs it."""

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._has_begun = False
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Begin to make it, so that who needs it soon waits less."""
        with self._lock:
            if not self._has_begun:
                self._thread = threads.start(self._make, "modelfetch-tls")
                if self._thread is None:
                    self._make()
                self._has_begun = True

    def context(self) -> ssl.SSLContext:
        """Wait for the context.

        Raises:
            SourceError: A certificate variable of the environment cannot be used.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        assert self._context is not None, "it was made, or failed"
        return self._context

    def wait(self) -> None:
        """Wait until it is made, or was found to be impossible."""
        self.begin()
        if self._thread is not None:
            self._thread.join()

    def _make(self) -> None:
        try:
            self._context = tls_context()
        except BaseException as error:  # handed over to the thread that waits for it
            self._error = error


def tls_context() -> ssl.SSLContext:
    """The trust anchors: those the environment names, else the operating system's.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are OpenSSL's own variables. Without them the one holds that
    companies set for requests, and so for pip and older hub libraries: ``REQUESTS_CA_BUNDLE``.

    Raises:
        SourceError: What they name cannot be read or holds no certificate.
    """
    environ = os.environ
    file, directory = environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR")
    if file or directory:
        return _named("SSL_CERT_FILE" if file else "SSL_CERT_DIR", file, directory)
    bundle = environ.get("REQUESTS_CA_BUNDLE")
    if not bundle:
        return _of_the_system()
    is_directory = Path(bundle).is_dir()  # either, as requests has it
    return _named("REQUESTS_CA_BUNDLE", None if is_directory else bundle, bundle if is_directory else None)


def _named(variable: str, file: str | None, directory: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file or None, capath=directory or None)
    except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
        why = "holds no certificate" if isinstance(error, ssl.SSLError) else _reason(error)
        raise SourceError(
            Fault.TLS,
            f"no certificate authorities: environment {variable}: {quote(file or directory or '')}: {why}",
            hint=f"Point {variable} at a file of CA certificates in PEM form, or unset it.",
        ) from error


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or "not a path").lower()


def _of_the_system() -> ssl.SSLContext:
    """The authorities of the operating system, read once.

    truststore asks macOS and Windows themselves. Elsewhere it would read the same files as here, for every
    connection anew, and let only one handshake go on at a time.
    """
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
