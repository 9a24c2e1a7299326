"""Where a model is published, and the secrets for it: both checked before anything is hashed or sent.

Secrets come from the environment alone. Each goes to the origin of its own target only, and no redirect is
followed::

    kubo, kubo=URL     the RPC of a kubo node            KUBO_API_TOKEN
    pinata             Pinata's upload                   PINATA_JWT, or PINATA_API_KEY and PINATA_SECRET_KEY
    https://...        the IPFS Pinning Service API      IPFS_PINNING_TOKEN
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from modelfetch.errors import AuthorizationError, UsageError
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.model.addresses import why_bad_url
from modelfetch.model.text import quote
from modelfetch.net.credentials import Credential
from modelfetch.net.urls import host_of, is_secure, is_this_machine, origin

KUBO_URL: Final = "http://127.0.0.1:5001"
"""Where a kubo node listens unless it is configured otherwise (``Addresses.API``)."""
PINATA_URL: Final = "https://api.pinata.cloud"

KUBO_TOKEN: Final = "KUBO_API_TOKEN"  # noqa: S105 - the name of a variable
PINNING_TOKEN: Final = "IPFS_PINNING_TOKEN"  # noqa: S105
PINATA_JWT: Final = "PINATA_JWT"
PINATA_KEYS: Final = ("PINATA_API_KEY", "PINATA_SECRET_KEY")

_VISIBLE: Final = re.compile(r"[\x21-\x7e]{1,8192}")
"""Visible ASCII, which a header field can carry (RFC 9110, 5.5)."""
_HINT: Final = "Give kubo, kubo=URL, pinata, or the https address of a pinning service."


class TargetKind(StrEnum):
    """Kind of a target."""

    KUBO = "kubo"
    SERVICE = "pinning-service"
    PINATA = "pinata"


@dataclass(frozen=True, slots=True)
class Target:
    """A server that gets the model."""

    kind: TargetKind
    url: str
    """Scheme, host, port and path, without a slash at the end."""
    credential: Credential | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Secret header fields, for requests to this address alone."""

    @property
    def host(self) -> str:
        """Its host, for display."""
        return host_of(self.url)


def parse_targets(texts: Sequence[str], environ: Mapping[str, str]) -> list[Target]:
    """Parse the values of ``--to``; kubo nodes come first, since pinning services can fetch from them.

    Raises:
        UsageError: One is no target, there are two of a kind, or a secret would be sent without TLS.
        AuthorizationError: The secret of a target is not in the environment.
    """
    targets = [_parse(text.strip(), environ) for text in dict.fromkeys(texts)]
    kinds = [target.kind for target in targets]
    for kind in TargetKind:
        if kinds.count(kind) > 1:
            raise UsageError(f"--to names two targets of the kind {kind}", hint="Publish to one at a time.")
    return sorted(targets, key=lambda target: target.kind is not TargetKind.KUBO)


def _parse(text: str, environ: Mapping[str, str]) -> Target:
    name, equals, address = text.partition("=")
    if name == "kubo":
        url = _address(address, text) if equals else KUBO_URL
        return _secure(Target(TargetKind.KUBO, url, _kubo_credential(url, environ)))
    if text == "pinata":
        credential, headers = _pinata_secrets(environ)
        return _secure(Target(TargetKind.PINATA, PINATA_URL, credential, headers))
    url = _address(text, text)
    token = _secret(PINNING_TOKEN, environ)
    if not token:
        raise AuthorizationError(
            f"the pinning service {host_of(url)} requires a token", hint=f"Set {PINNING_TOKEN}."
        )
    return _secure(Target(TargetKind.SERVICE, url, Credential.bearer(url, token)))


def _address(text: str, shown: str) -> str:
    if "@" in text:
        # First, and not shown: it may be a password.
        raise UsageError(
            "--to: the address contains a user or password",
            hint=f"Put the secret into the environment: {KUBO_TOKEN} or {PINNING_TOKEN}.",
        )
    if not re.match("(?i)https?://", text):
        raise UsageError(f"--to: {quote(shown)} is no target", hint=_HINT)
    if clause := why_bad_url(text):
        raise UsageError(f"--to: the address {quote(text)} {clause}", hint=_HINT)
    parts = urlsplit(text)
    if parts.query or parts.fragment:
        raise UsageError("--to: the address has a query or a fragment", hint="Leave them out.")
    return text.rstrip("/")


def _kubo_credential(url: str, environ: Mapping[str, str]) -> Credential | None:
    """The credential for a kubo node, in the forms of its ``AuthSecret``; most nodes need none."""
    secret = _secret(KUBO_TOKEN, environ)
    scheme, colon, rest = secret.partition(":")
    if colon and scheme == "basic":
        user, _, password = rest.partition(":")
        return Credential.basic(url, user, password)
    token = rest if colon and scheme == "bearer" else secret
    return Credential.bearer(url, token) if token else None


def _pinata_secrets(environ: Mapping[str, str]) -> tuple[Credential | None, Mapping[str, str]]:
    if token := _secret(PINATA_JWT, environ):
        return Credential.bearer(PINATA_URL, token), {}
    key, secret = (_secret(name, environ) for name in PINATA_KEYS)
    if not (key and secret):
        raise AuthorizationError(
            "Pinata requires a key", hint=f"Set {PINATA_JWT}, or {' and '.join(PINATA_KEYS)}."
        )
    return None, {"pinata_api_key": key, "pinata_secret_api_key": secret}


def _secret(name: str, environ: Mapping[str, str]) -> str:
    """A secret of the environment, or empty. It is never shown, also if it is malformed."""
    value = environ.get(name, "").strip()
    if value and not _VISIBLE.fullmatch(value):
        raise UsageError(f"{name} contains characters that no token has", hint="Set it again.")
    return value


def _secure(target: Target) -> Target:
    has_secret = target.credential is not None or bool(target.headers)
    if has_secret and not is_secure(target.url) and not is_this_machine(origin(target.url)[1]):
        raise UsageError(
            f"the token for {target.host} would be sent without TLS", hint="Give an https address."
        )
    return target
