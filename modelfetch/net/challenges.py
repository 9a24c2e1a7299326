"""Challenges of servers that require credentials: the field ``WWW-Authenticate`` (RFC 9110, 11.6.1). Pure.

One field may hold several challenges, each with parameters::

    Bearer realm="https://auth.example/token",service="registry.example", Basic realm="lab"

The values come from an unauthenticated server. What they may cause is decided where they are used, such as in
:mod:`modelfetch.net.registry_auth`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from modelfetch.lazy_dataclass import dataclass

_LONGEST: Final = 8192
"""Characters read of a field; real ones have about 150."""
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PART: Final = re.compile(
    rf'[\s,]*(?:(?P<name>{_WORD})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]+))'
    rf"|(?P<scheme>{_WORD})(?=[\s,]|$))"
)
"""A parameter, or the scheme that begins the next challenge."""
_ESCAPED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a server asked for with status 401."""

    field: str
    """``WWW-Authenticate`` as received; several fields are joined by commas."""
    is_public: bool
    """Whether the answer came from the public internet. Such a server must not make this machine send
    requests into a private network."""

    def parameters(self, scheme: str) -> Mapping[str, str] | None:
        """The parameters of the first challenge of a scheme, names in lower case; None if there is none."""
        found: dict[str, str] | None = None
        for part in self._parts():
            if part["scheme"] is not None:
                if found is not None:
                    break
                found = {} if part["scheme"].lower() == scheme.lower() else None
            elif found is not None:
                quoted = part["quoted"]
                value = part["bare"] if quoted is None else _ESCAPED.sub(r"\1", quoted)
                found.setdefault(part["name"].lower(), value)
        return found

    def _parts(self) -> list[re.Match[str]]:
        text, position, parts = self.field[:_LONGEST], 0, list[re.Match[str]]()
        while part := _PART.match(text, position):
            parts.append(part)
            position = part.end()
        return parts
