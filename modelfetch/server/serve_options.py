"""The options of the server, and what can be wrong with them.

Everything is checked before the server listens. A wrong option is a :class:`modelfetch.errors.UsageError`::

    --fetch needs --share
    the token has 8 characters, so it can be guessed
"""

from __future__ import annotations

import re
import secrets
import ssl
from pathlib import Path
from typing import Final

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import quote, sanitize
from modelfetch.server.listen_address import is_host
from modelfetch.settings.redaction import endpoint

MIN_TOKEN_LENGTH: Final = 16
"""Characters of a configured token at least: 64 bits as random hexadecimal digits, 96 as base64. At ten
thousand guesses a second the former takes thirty million years."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
"""Characters allowed after ``Bearer`` (RFC 6750, 2.1); all are also allowed in a URL fragment."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the server."""

    host: str = "127.0.0.1"
    port: int = 8765
    """0 takes any free port."""
    token: str = ""
    """Empty generates a random one."""
    cert: Path | None = None
    """PEM file with the certificate and its chain; together with ``key`` it enables TLS."""
    key: Path | None = None
    public_url: str = ""
    """URL at which a reverse proxy publishes it; empty without a proxy."""
    allow_add: bool | None = None
    """Whether clients may add models; None allows it only if no other machine can reach the server."""
    share: bool = False
    """Whether anyone who can connect may read the verified blobs of the cache, without the token."""
    swarm: bool = False
    """Whether present models are uploaded to swarms, and jobs use them."""
    allow_hosts: tuple[str, ...] = ()
    """More names of this machine that clients use, as in ``Host``; without a port, that of the server."""
    fetch: bool = False
    """Whether a file of a pinned model that is not here is fetched when a client asks for it."""
    pin_on_demand: bool = False
    """Whether a public model of Hugging Face that no catalog pins is pinned when a client asks for it."""
    pin_only: tuple[str, ...] = ()
    """Patterns of the repositories that may be pinned; none allows all."""


def checked_token(given: str) -> str:
    """Return the configured token, or a random one if none is configured.

    Raises:
        UsageError: It cannot be sent in a header, or is too short.
    """
    if not given:
        return secrets.token_urlsafe(32)  # 256 bits
    if not _TOKEN.fullmatch(given):
        raise UsageError(
            "the token has characters that cannot be sent in a header",
            hint="Use letters, digits and -._~+/ only; without a token, a random one is generated.",
        )
    if len(given) < MIN_TOKEN_LENGTH:
        raise UsageError(
            f"the token has {len(given)} characters, so it can be guessed",
            hint=f"Use at least {MIN_TOKEN_LENGTH}, as from `openssl rand -hex 32`; or give no token.",
        )
    return given


def checked_public_url(url: str) -> str:
    """Return the public URL without a trailing slash.

    Raises:
        UsageError: It is no address that a browser could open.
    """
    try:
        return endpoint(url) if url else ""
    except ValueError as error:
        hint = "Give the URL to open in a browser, such as https://models.example.org."
        raise UsageError(f"--public-url: {error}", hint=hint) from error


def checked_hosts(options: Options) -> tuple[str, ...]:
    """Return the names of ``--allow-host`` in lower case.

    Raises:
        UsageError: One cannot be in a ``Host`` header.
    """
    for name in options.allow_hosts:
        if not is_host(name):
            hint = "Give a host name or an address as clients write it, such as models.lan or models.lan:80."
            raise UsageError(f"--allow-host: {quote(name)} is not a host name", hint=hint)
    return tuple(name.lower() for name in options.allow_hosts)


def check_sharing(options: Options) -> None:
    """Check that each option of sharing has the one that it extends, and that patterns can be used.

    Raises:
        UsageError: It does not, or they do not.
    """
    if options.fetch and not options.share:
        raise UsageError("--fetch needs --share", hint="Without it, no client asks for a file.")
    if options.pin_on_demand and not options.fetch:
        raise UsageError("--pin-on-demand needs --fetch", hint="Give both, and --share.")
    if options.pin_only and not options.pin_on_demand:
        raise UsageError("--pin-only needs --pin-on-demand", hint="Give both, or neither.")
    if options.pin_only:
        from modelfetch.server.pin_patterns import registries

        registries(options.pin_only)


def check_tls(cert: Path | None, key: Path | None) -> bool:
    """Whether to use TLS.

    Raises:
        UsageError: Certificate or key are missing or unusable. uvicorn would find that out only later.
    """
    if cert is None and key is None:
        return False
    if cert is None or key is None:
        raise UsageError("TLS needs both --cert and --key", hint="Give the PEM files of both.")
    try:
        # An empty password fails for an encrypted key; without one, OpenSSL would ask on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = (
            sanitize(error.strerror or str(error)) if isinstance(error, OSError) else sanitize(str(error))
        )
        raise UsageError(
            f"the certificate {quote(str(cert))} with the key {quote(str(key))} cannot be used: {reason}",
            hint="Give the PEM files of a certificate and of its key, without a password.",
        ) from error
    return True
