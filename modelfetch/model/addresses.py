"""Rules for the addresses in manifests and settings. Pure functions without network access.

An address is an ``http`` or ``https`` URL in visible ASCII, percent-encoded, without credentials and without
a fragment. A mirror is such a URL with fields in its path: ``https://m.example/{name}/{version}/{path}``. A
file and a mirror may also be in an object store: ``s3://bucket/{sha256}``, by the rules of
:mod:`modelfetch.model.object_address`. A repository of an OCI registry is a host and a path:
``registry.example:5000/models/whisper-base``. A tracker of a swarm is a URL too, or
``udp://tracker.example:6969``; a machine in it is ``10.0.0.7:6881``.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_VISIBLE: Final = re.compile(r"[!-~]+")
_UNENCODED: Final = re.compile(r'[\\"<>^`|]')
"""Visible characters that RFC 3986 does not allow in a URL unencoded; braces have a message of their own."""
_FIELD: Final = re.compile(r"\{(path|sha256|name|version)\}")

_HOST: Final = (
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"|\[[0-9a-fA-F:]{2,39}\])(?::(?P<port>[0-9]{1,5}))?"
)
"""Host and port of a registry (github.com/distribution/reference, ``domain`` in reference.go).

This pattern and the next two are compiled on first use: every run imports this module, and few need them."""
_REGISTRY_PATH: Final = r"[A-Za-z0-9_]+(?:[.-]+[A-Za-z0-9_]+)*(?:/[A-Za-z0-9_]+(?:[.-]+[A-Za-z0-9_]+)*)*"
"""Path of a repository (OCI distribution specification, "Pulling manifests", ``<name>``). Upper case too, as
hosts with ollama's protocol have it: ``hf.co/Qwen/Qwen3-GGUF``."""
_DIGEST_ONLY: Final = r"[0-9a-f]{64}"

REPOSITORY_CHARACTERS: Final = 255
"""Longest host and path of a repository; registry clients have this limit."""

URL_CHARACTERS: Final = 8192
"""Longest address; servers commonly reject request lines of more than 8 KiB."""


def why_bad_url(url: str) -> str:
    """Check the address of a file.

    Returns:
        What is wrong, as a clause that continues "the address ...", or an empty string.
    """
    if len(url) > URL_CHARACTERS:
        return f"is longer than {URL_CHARACTERS} characters"
    if not _VISIBLE.fullmatch(url) or _UNENCODED.search(url):
        return "contains a character that must be percent-encoded"
    if "{" in url or "}" in url:
        return "contains braces, which only a template may have"
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
        return "has no host"
    if "@" in parts.netloc:
        return "contains a user name or password; credentials never belong in an address"
    if "#" in url:
        return "contains a fragment (#...), which is never sent to a server"
    return ""


def is_object_url(text: str) -> bool:
    """Whether a text begins like the address of an object in an object store."""
    return text.startswith(("s3://", "gs://", "az://"))


def why_bad_object_url(url: str) -> str:
    """Check the address of an object; see :func:`modelfetch.model.object_address.why_bad_object_url`."""
    # Imported late: every run loads this module, and few manifests name an object store.
    from modelfetch.model.object_address import why_bad_object_url as check

    return check(url)


def why_bad_location(url: str) -> str:
    """Check the address of a file: a URL, or the address of an object.

    Returns:
        What is wrong, as a clause that continues "the address ...", or an empty string.
    """
    if not is_object_url(url):
        return why_bad_url(url)
    return why_bad_object_url(url) or ("names no object" if url.count("/") < 3 or url.endswith("/") else "")


def why_bad_template(template: str) -> str:
    """Check a mirror template: a URL or the address of an object with ``{path} {sha256} {name} {version}``.

    Returns:
        What is wrong, as a clause that continues "the template ...", or an empty string.
    """
    plain = _FIELD.sub("x", template)
    if "{" in plain or "}" in plain:
        return "has a field other than {path}, {sha256}, {name} and {version}"
    is_object = is_object_url(template)
    if is_object and "{" in template.split("/")[2]:
        return "has a field in its bucket"
    if clause := why_bad_location(plain):
        return clause
    if not is_object and "{" in urlsplit(template).netloc:
        return "has a field in its host"
    if "{path}" not in template and "{sha256}" not in template:
        return "needs {path} or {sha256}; without one every file has the same address"
    return ""


def why_bad_repository(repository: str) -> str:
    """Check a repository of an OCI registry: ``host[:port]/path``.

    Returns:
        What is wrong, as a clause that continues "the repository ...", or an empty string.
    """
    if len(repository) > REPOSITORY_CHARACTERS:
        return f"is longer than {REPOSITORY_CHARACTERS} characters"
    if "@" in repository or "://" in repository:
        return "must be host/path alone, without a scheme, credentials, tag or digest"
    host, _, path = repository.partition("/")
    found = re.fullmatch(_HOST, host)
    if not found or not _is_explicit(host) or not _is_port(found["port"]):
        return "must start with the host of a registry, such as ghcr.io or localhost:5000"
    if not re.fullmatch(_REGISTRY_PATH, path):
        return "must have a path of A-Z a-z 0-9, separated by / . _ or -, and no tag"
    # Docker takes 64 hexadecimal digits for the id of an image, so registries refuse them as a name.
    return "must not be a digest" if re.fullmatch(_DIGEST_ONLY, path) else ""


def why_bad_tracker(url: str) -> str:
    """Check the announce URL of a BitTorrent tracker: http, https (BEP 3) or udp (BEP 15).

    Returns:
        What is wrong, as a clause that continues "the tracker ...", or an empty string.
    """
    if not url.startswith("udp://"):
        clause = why_bad_url(url)
        return clause.replace("https:// or http://", "https://, http:// or udp://")
    # The same rules with another scheme; BEP 15 has no default port.
    if clause := why_bad_url(f"http://{url.removeprefix('udp://')}"):
        return clause
    return "" if urlsplit(url).port is not None else "needs a port: udp://host:port"


def why_bad_endpoint(text: str) -> str:
    """Check the address of a machine: ``host:port``, ``10.0.0.7:6881`` or ``[fd00::1]:6881``.

    Returns:
        What is wrong, as a clause that continues "the address ...", or an empty string.
    """
    found = re.fullmatch(_HOST, text) if len(text) <= REPOSITORY_CHARACTERS else None
    if found is None or found["port"] is None or not _is_port(found["port"]):
        return "must be HOST:PORT, such as 10.0.0.7:6881 or [fd00::1]:6881"
    return ""


def _is_explicit(host: str) -> bool:
    """Return whether the first part of a reference is a host, not a namespace of Docker Hub."""
    return host == "localhost" or "." in host or ":" in host or host != host.lower()


def _is_port(port: str | None) -> bool:
    return port is None or 0 < int(port) < 65536
