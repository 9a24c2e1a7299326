"""License identifiers of hubs as SPDX identifiers.

Hubs write licenses in lower case (``apache-2.0``), which is not SPDX (``Apache-2.0``). An identifier is
mapped only if exactly one SPDX identifier has its meaning; everything else is kept as the hub states it:

* ``gpl-3.0``: SPDX distinguishes ``GPL-3.0-only`` and ``GPL-3.0-or-later``;
* ``gpl``, ``cc``, ``bsd``, ``openrail``: no version;
* ``llama3.1``, ``gemma``, ``unknown``, ``other``: not in the SPDX list.
"""

from __future__ import annotations

from typing import Final

from modelfetch.model.text import visible

_LONGEST: Final = 200
"""Most characters kept of a license; a real identifier has at most 40."""

_MOST: Final = 20
"""Most licenses kept of a list."""

_IDENTIFIERS: Final = (
    *("AFL-3.0", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause"),
    *("BSD-3-Clause-Clear", "BSL-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0"),
    *("CC-BY-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-3.0"),
    *("CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0", "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0"),
    *("CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0"),
    *("CDLA-Sharing-1.0", "ECL-2.0", "EPL-1.0", "EPL-2.0", "EUPL-1.1"),
    *("EUPL-1.2", "ISC", "LPPL-1.3c", "MIT", "MPL-2.0"),
    *("MS-PL", "NCSA", "OFL-1.1", "OSL-3.0", "PostgreSQL"),
    *("Unlicense", "WTFPL", "Zlib"),
)
"""SPDX identifiers whose lower-case form is an identifier of Hugging Face (hub-docs,
repositories-licenses.md)."""

_SPDX: Final[dict[str, str]] = {identifier.lower(): identifier for identifier in _IDENTIFIERS}


def spdx(stated: str) -> str:
    """Return the SPDX identifier for a hub's identifier if there is exactly one, else the text itself."""
    text = visible(stated).strip()[:_LONGEST]
    return _SPDX.get(text.lower(), text)


def license_of(stated: object, name: object = "") -> str:
    """Return the license that a hub states.

    Args:
        stated: An identifier, or a list of them; anything else counts as not stated.
        name: The name of the license where the identifier is ``other``.
    """
    if isinstance(stated, list):
        return ", ".join(spdx(item) for item in stated[:_MOST] if isinstance(item, str) and item.strip())
    if not isinstance(stated, str):
        return ""
    found = spdx(stated)
    if found == "other" and isinstance(name, str) and name.strip():
        return f"other ({spdx(name)})"
    return found
