"""Server certificates for TLS tests: good, for another host, expired, and of an unknown authority."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import trustme


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def server(self, host: str = "127.0.0.1", *, expired: bool = False) -> ssl.SSLContext:
        """A server's context with a certificate for a host."""
        until = dt.datetime(2001, 1, 1, tzinfo=dt.UTC) if expired else None
        since = dt.datetime(2000, 6, 1, tzinfo=dt.UTC) if expired else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(host, not_after=until, not_before=since).configure_cert(context)
        return context

    def issue(self, directory: Path) -> tuple[Path, Path]:
        """Write a certificate of this machine with its chain, and its key, as PEM, for a server's options."""
        issued = self._ca.issue_cert("localhost", "127.0.0.1")
        cert, key = directory / "cert.pem", directory / "key.pem"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return cert, key

    def client(self) -> ssl.SSLContext:
        """A client's context that trusts this authority alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # some releases of 3.11 set it: a cut is to be seen
        self._ca.configure_trust(context)
        return context

    def write(self, path: Path) -> Path:
        """Write the authority's certificate as PEM, for SSL_CERT_FILE."""
        self._ca.cert_pem.write_to_path(path)
        return path
