"""Which file names a manifest may use: the same verdict on every operating system.

A path is accepted or refused, never rewritten: a rewritten name is a second name for the same thing, which
is how ``..``, drive letters and device names came back in other tools (CVE-2026-15717, CVE-2024-37032). Names
are allow-listed, so what nobody thought of is refused too. Pure: nothing here looks at a disk.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from modelfetch.model.text import is_hidden, quote

SEGMENT_BYTES: Final = 255
"""Longest name between slashes, in UTF-8 bytes (ext4, XFS and APFS; NTFS counts 255 UTF-16 units)."""

PATH_BYTES: Final = 1024
"""Longest path, in UTF-8 bytes (``PATH_MAX`` of macOS, the smallest of the systems supported)."""

DEPTH: Final = 32
"""Most names in a path; no model published comes near, and every check stays linear."""

_ORDINARY: Final = re.compile(
    r"(?:(?:[0-9][A-Za-z0-9_+-]*|[A-Za-z_+][A-Za-z0-9_+-]{4,})(?:\.[A-Za-z0-9_+-]+)*(?:/(?!\Z)|\Z)){1,8}"
)
"""Most paths there are, known to be safe at a glance: nothing of theirs could be a device."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_IDENTITY: Final = re.compile(r"[0-9a-f]{12}(?:[0-9a-f]{52})?")
_ASCII: Final = re.compile(r"[A-Za-z0-9._+-]*")
_WORDS: Final = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd"})
"""Unicode categories allowed outside ASCII: letters, their marks, and decimal digits."""

_NOT_ON_WINDOWS: Final = re.compile(r'[<>:"|?*]|[ .]\Z')
"""Signs no name has there, and ends that are dropped (Microsoft: Naming Files, Paths, and Namespaces)."""
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"}
    | {f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"}
)
"""Names Windows opens as devices, whatever the suffix (Microsoft: Naming Files, Paths, and Namespaces)."""


def why_unsafe(path: str) -> str:
    """Say why a path must not be used for a file on disk.

    Returns:
        A clause that continues the sentence "the path ...", or an empty string when the path is safe.
    """
    if len(path) <= SEGMENT_BYTES and _ORDINARY.fullmatch(path):
        return ""
    if not path:
        return "is empty"
    if len(path.encode(errors="surrogatepass")) > PATH_BYTES:
        return f"is longer than {PATH_BYTES} bytes"
    segments = path.split("/")
    if len(segments) > DEPTH:
        return f"is more than {DEPTH} names deep"
    return next(filter(None, map(_why_unsafe_segment, segments)), "")


def _why_unsafe_segment(segment: str) -> str:
    if segment in ("", ".", ".."):
        return "must be relative, without empty, '.' or '..' parts"
    if len(segment.encode(errors="surrogatepass")) > SEGMENT_BYTES:
        return f"has a part longer than {SEGMENT_BYTES} bytes"
    if refused := _first_refused(segment):
        return f"contains {_named(refused)}; allowed are letters, digits and . _ + -"
    if not unicodedata.is_normalized("NFC", segment):
        return "is not in Unicode normalisation form NFC"
    if segment.startswith("-") or segment.endswith(".") or _is_device(segment):
        return "has a part that starts with '-', ends with '.' or is a device on Windows"
    return ""


def _first_refused(segment: str) -> str:
    """Give the first character that is not on the allow-list, or an empty string."""
    if _ASCII.fullmatch(segment):
        return ""
    return next((character for character in segment if not _is_allowed(character)), "")


def _is_allowed(character: str) -> bool:
    if character.isascii():
        return bool(_ASCII.fullmatch(character))
    return unicodedata.category(character) in _WORDS and not is_hidden(character)


def _named(character: str) -> str:
    shown = f"{character!r} " if character.isascii() and character.isprintable() else ""
    return f"{shown}U+{ord(character):04X}"


def _is_device(segment: str) -> bool:
    return segment.partition(".")[0].casefold() in _DEVICES


def why_unsafe_remote(path: str) -> str:
    """Say why a path must not be asked of a server; laxer, since it never becomes a name on disk.

    Returns:
        A clause that continues the sentence "the path ...", or an empty string when the path is usable.
    """
    if not path or len(path) > PATH_BYTES:
        return f"is empty or longer than {PATH_BYTES} characters"
    if any(map(is_hidden, path)) or "\\" in path:
        return "contains a backslash or an invisible character"
    if any(segment in ("", ".", "..") for segment in path.split("/")):
        return "must be relative, without empty, '.' or '..' parts"
    return ""


def why_unplaceable(path: str, *, windows: bool) -> str:
    """Say why a file cannot have a name of a repository on this disk: in a layout that other programs made.

    Such names may have spaces and signs that :func:`why_unsafe` refuses, as far as the system takes them.

    Args:
        path: Its path in the repository.
        windows: Whether the disk follows the rules of Windows.

    Returns:
        A clause that continues the sentence "the path ...", or an empty string when it can.
    """
    if clause := why_unsafe_remote(path):
        return clause
    for segment in path.split("/"):
        if len(segment.encode(errors="surrogatepass")) > SEGMENT_BYTES:
            return f"has a part longer than {SEGMENT_BYTES} bytes"
        if windows and (_NOT_ON_WINDOWS.search(segment) or _is_device(segment)):
            return "has a part that Windows does not allow"
    return ""


def caseless(path: str) -> str:
    """Reduce a path to what a case-insensitive, normalising file system compares.

    Canonical caseless matching (The Unicode Standard, 3.13, D145). Two paths with the same result may be one
    file on Windows or macOS.
    """
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def clashes(paths: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Find paths that cannot stand beside an earlier one on every file system; empty ones are passed over.

    Yields:
        The index of the later path, and a clause that continues the sentence "the path ...".
    """
    files: dict[str, str] = {}
    directories: dict[str, str] = {}
    for index, path in ((index, path) for index, path in enumerate(paths) if path):
        key = caseless(path)
        parents = dict(_parents(path, key))
        if clause := _clash(path, key, parents, files, directories):
            yield index, clause
        else:
            files[key] = path
            directories.update(parents)


def _parents(path: str, key: str) -> Iterator[tuple[str, str]]:
    """Give each directory above a path: its caseless key and its spelling."""
    segments, keys = path.split("/"), key.split("/")
    for depth in range(1, len(segments)):
        yield "/".join(keys[:depth]), "/".join(segments[:depth])


def _clash(
    path: str, key: str, parents: dict[str, str], files: dict[str, str], directories: dict[str, str]
) -> str:
    if files.get(key) == path:
        return "is listed twice"
    if key in files:
        return f"differs only in case or accents from {quote(files[key])}"
    if key in directories:
        return "is a file, but also the directory of another file"
    for parent in parents.keys() & files.keys():
        return f"lies in {quote(files[parent])}, which is itself a file"
    for parent, spelling in parents.items():
        if directories.get(parent, spelling) != spelling:
            return f"lies in {quote(spelling)}, elsewhere spelled {quote(directories[parent])}"
    return ""


def why_bad_name(name: str) -> str:
    """Say why a text cannot be the name of a model; names become directories of the cache.

    Returns:
        A clause that continues the sentence "the name ...", or an empty string when it can.
    """
    if not _NAME.fullmatch(name):
        return "must be 1 to 128 of a-z 0-9 . _ - and start with a letter or a digit"
    return _why_unsafe_segment(name)


def why_bad_version(version: str) -> str:
    """Say why a text cannot be a version: the rule of names, and one more for the receipt's sake.

    Returns:
        A clause that continues the sentence "the version ...", or an empty string when it can.
    """
    if version.endswith(".json"):
        return "must not end in .json: the receipt of another version may have that name"
    return why_bad_name(version)


def why_bad_label(label: str) -> str:
    """Say why a text cannot name the directory of a version: a version, or ``<version>+<identity>``.

    A version has no ``+``, so no version is ever mistaken for the directory of another manifest.

    Returns:
        A clause that continues the sentence "the version ...", or an empty string when it can.
    """
    version, plus, identity = label.partition("+")
    if plus and not _IDENTITY.fullmatch(identity):
        return "must have the first 12 or all 64 hex digits of an identity behind its +"
    return why_bad_version(version)
