"""Masks secrets by their value, in text that servers, headers and addresses may bring them into.

:func:`modelfetch.settings.text_redaction.redact_text` knows the shape of secrets: queries, user information,
named values. A server can also repeat a credential where no shape gives it away, such as in a path, an
``ETag`` or percent-encoded. So :class:`KnownSecrets` collects the values themselves: those of environment
variables, and each credential that is sent. All forms in which a value is usually encoded are masked::

    pass/word    pass%2Fword    pass%2fword    cGFzcy93b3Jk
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from modelfetch.model.text import sanitize
from modelfetch.settings.text_redaction import MASK, redact_text, secret_variables

SHORTEST: Final = 6
"""Shortest value that is masked, in characters; a shorter one could be part of an ordinary word."""
_USERINFO: Final = re.compile(r"://([^/\s?#]+)@")
_PART: Final = re.compile(r"[^\s/?&#=;,\"'<>]+")
"""A part of an address, or a word."""
_ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_DECODINGS: Final = 3
"""How often text is decoded in search of a secret: gateways encode a part of an address again."""


class KnownSecrets:
    """Masks known secrets. May be used by several threads.

    Args:
        environ: The environment, by default that of the process. The values of variables such as ``HF_TOKEN``
            are secret, and the user information of addresses, such as those of proxies.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        self._lock = threading.Lock()
        self._added: set[str] = set()
        self._forms: list[str] = []
        """Longest first: a secret may be part of a longer one."""
        for secret in secret_variables(self._environ):
            self.add(secret)
        for value in self._environ.values():
            for userinfo in _USERINFO.findall(value):
                self.add(userinfo)

    def add(self, secret: str) -> None:
        """Mask a secret from now on.

        Args:
            secret: A token; user and password, separated by a colon; or the value of a field
                ``Authorization``.
        """
        if secret in self._added:  # each request adds its credential
            return
        found = {form for value in _values(secret) for form in _forms(value) if len(form) >= SHORTEST}
        with self._lock:
            self._added.add(secret)
            self._forms = sorted({*self._forms, *found}, key=len, reverse=True)

    def mask(self, text: str) -> str:
        """Return a text without secrets and control characters, on a single line."""
        text = sanitize(text)
        text = _PART.sub(lambda found: MASK if self._is_secret(found[0]) else found[0], text)
        # Sanitized again: the replacement of a part can join what was apart, such as "##".
        return sanitize(self._plain(text))

    def _plain(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, MASK)
        return redact_text(text, self._environ)

    def _is_secret(self, part: str) -> bool:
        """Whether a part of an address has percent-encoded characters, and a secret once it is decoded."""
        if not _ENCODED.search(part):
            return False
        for _ in range(_DECODINGS):
            decoded = unquote(part)
            if decoded == part:
                return False
            if self._plain(decoded) != decoded:
                return True
            part = decoded
        return True  # encoded more often than any gateway does it


def _values(secret: str) -> Iterator[str]:
    """The secret values in a text: itself, its parts, and what it encodes."""
    yield secret
    scheme, _, value = secret.partition(" ")
    if value:
        yield value.strip()
    if scheme.lower() == "basic":
        try:
            secret = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return
        yield secret
    _, _, password = secret.partition(":")
    if password:
        yield password
        yield unquote(password)


def _forms(value: str) -> Iterator[str]:
    """A value in all usual encodings."""
    yield value
    encoded = value.encode("utf-8", "surrogatepass")
    for quoted in (quote(encoded, safe=""), quote(encoded), quote_plus(encoded)):
        yield quoted
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)
    for code in (base64.b64encode(encoded), base64.urlsafe_b64encode(encoded)):
        yield code.decode().rstrip("=")
    yield unquote_plus(value)
