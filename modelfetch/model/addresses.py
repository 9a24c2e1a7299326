"""Which addresses a manifest or a setting may name. Pure: nothing is asked."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_VISIBLE: Final = re.compile(r"[!-~]+")
_UNSAFE: Final = re.compile(r'[\\"<>^`|]')
_FIELD: Final = re.compile(r"\{(path|sha256|name|version)\}")

URL_CHARACTERS: Final = 8192
"""Longest address; servers commonly refuse request lines beyond 8 KiB."""


def why_bad_url(url: str) -> str:
    """Say why a text cannot be used as the address of a file.

    Returns:
        A clause that continues the sentence "the address ...", or an empty string when it can.
    """
    if len(url) > URL_CHARACTERS:
        return f"is longer than {URL_CHARACTERS} characters"
    if not _VISIBLE.fullmatch(url) or _UNSAFE.search(url):
        return "contains a character that must be percent-encoded"
    if "{" in url or "}" in url:
        return "contains braces, as a template would"
    return _why_bad_parts(url)


def _why_bad_parts(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("https", "http"):
        return "must start with https:// or http://"
    if not parts.hostname or port == 0:
        return "names no host"
    if "@" in parts.netloc:
        return "contains a user name or password; credentials never belong in an address"
    if "#" in url:
        return "contains a fragment (#...), which is never sent to a server"
    return ""


def why_bad_template(template: str) -> str:
    """Say why a text cannot be used as a mirror: a URL with ``{path} {sha256} {name} {version}`` in its path.

    Returns:
        A clause that continues the sentence "the template ...", or an empty string when it can.
    """
    plain = _FIELD.sub("x", template)
    if "{" in plain or "}" in plain:
        return "has a field other than {path}, {sha256}, {name} and {version}"
    if clause := why_bad_url(plain):
        return clause
    if "{" in urlsplit(template).netloc:
        return "has a field in its host"
    if "{path}" not in template and "{sha256}" not in template:
        return "needs {path} or {sha256}, or else every file has the same address"
    return ""
