"""Rules for paths, names and versions in manifests; the result is the same on every operating system.

A path is accepted or rejected, never rewritten. A rewritten path is a second name for the same file, which
led to path traversal by ``..``, drive letters and device names in other tools (CVE-2026-15717,
CVE-2024-37032). Characters are allow-listed, so unforeseen ones are rejected too. Pure functions: nothing
here accesses a disk.

For example, ``onnx/model.onnx`` is safe; ``../x``, ``a//b``, ``nul.txt`` and ``C:/x`` are not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from modelfetch.model.text import is_hidden, quote

SEGMENT_BYTES: Final = 255
"""Longest name between slashes, in UTF-8 bytes (ext4, XFS and APFS; NTFS allows 255 UTF-16 units)."""

PATH_BYTES: Final = 1024
"""Longest path, in UTF-8 bytes (``PATH_MAX`` of macOS, the smallest of the supported systems)."""

DEPTH: Final = 32
"""Most names in a path. Published models have far fewer, and the limit keeps every check linear."""

_ORDINARY: Final = re.compile(
    r"(?:(?:[0-9][A-Za-z0-9_+-]*|[A-Za-z_+][A-Za-z0-9_+-]{4,})(?:\.[A-Za-z0-9_+-]+)*(?:/(?!\Z)|\Z)){1,8}"
)
"""Matches most paths, which are safe without further checks. The first part of a name has at least five
characters or starts with a digit, so it cannot be a Windows device such as ``con`` or ``lpt1``."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_IDENTITY: Final = re.compile(r"[0-9a-f]{12}(?:[0-9a-f]{52})?")
_ASCII: Final = re.compile(r"[A-Za-z0-9._+-]*")
_WORDS: Final = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd"})
"""Allowed Unicode categories outside of ASCII: letters, their marks, and decimal digits."""

_OF_REFERENCES: Final = frozenset(":/\\")
_NOT_ON_WINDOWS: Final = re.compile(r'[<>:"|?*]|[ .]\Z')
"""Characters that Windows does not allow, and trailing ones that it drops (Microsoft: Naming Files, Paths,
and Namespaces)."""
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"}
    | {f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"}
)
"""Names that Windows opens as devices, with any suffix (Microsoft: Naming Files, Paths, and Namespaces)."""


@lru_cache(maxsize=4096)  # a run checks each path six times: in the manifest, for each name, in the receipt
def why_unsafe(path: str) -> str:
    """Check the path of a file on disk.

    Returns:
        Why it is not safe, as a clause that continues "the path ...", or an empty string.
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
        return "is not in Unicode normalization form NFC"
    # A leading "-" reads like an option of a command; Windows drops a trailing "." from a name.
    if segment.startswith("-") or segment.endswith(".") or _is_device(segment):
        return "has a part that starts with '-', ends with '.' or is a device on Windows"
    return ""


def _first_refused(segment: str) -> str:
    """Return the first character that is not allowed, or an empty string."""
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
    """Check a path that is only requested from a server; laxer, since it never becomes a name on disk.

    Returns:
        Why it cannot be used, as a clause that continues "the path ...", or an empty string.
    """
    if not path or len(path) > PATH_BYTES:
        return f"is empty or longer than {PATH_BYTES} characters"
    if any(map(is_hidden, path)) or "\\" in path:
        return "contains a backslash or an invisible character"
    if any(segment in ("", ".", "..") for segment in path.split("/")):
        return "must be relative, without empty, '.' or '..' parts"
    return ""


def why_unplaceable(path: str, *, windows: bool) -> str:
    """Check a path of a repository that another program's layout has on this disk.

    Such a path may have spaces and other characters that :func:`why_unsafe` rejects, if the system allows
    them.

    Args:
        path: The path in the repository.
        windows: Whether the rules of Windows apply.

    Returns:
        Why it cannot be used, as a clause that continues "the path ...", or an empty string.
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
    """Return the form of a path that a case-insensitive, normalizing file system compares.

    It is that of canonical caseless matching (The Unicode Standard, 3.13, D145). Two paths with the same form
    may be the same file on Windows or macOS.
    """
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def clashes(paths: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Find paths that clash with an earlier one on some file system; empty paths are skipped.

    Yields:
        The index of the later path, and what is wrong, as a clause that continues "the path ...".
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
    """Yield the directories above a path, each as its caseless form and its spelling."""
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


def is_reference(word: str) -> bool:
    """Return whether a word has a colon or slash, as references have and names do not."""
    return not _OF_REFERENCES.isdisjoint(word)


def why_bad_name(name: str) -> str:
    """Check the name of a model, which becomes a directory of the cache.

    Returns:
        What is wrong, as a clause that continues "the name ...", or an empty string.
    """
    if not _NAME.fullmatch(name):
        return "must be 1 to 128 of a-z 0-9 . _ - and start with a letter or a digit"
    return _why_unsafe_segment(name)


def why_bad_version(version: str) -> str:
    """Check a version: the rules of names apply, and it must not collide with the file of a receipt.

    Returns:
        What is wrong, as a clause that continues "the version ...", or an empty string.
    """
    if version.endswith(".json"):
        return "must not end in .json: the receipt of another version may have that name"
    return why_bad_name(version)


def why_bad_label(label: str) -> str:
    """Check the name of a version's directory: a version, or ``<version>+<identity>``.

    A version has no ``+``, so a version cannot be mistaken for the directory of another manifest.

    Returns:
        What is wrong, as a clause that continues "the version ...", or an empty string.
    """
    version, plus, identity = label.partition("+")
    if plus and not _IDENTITY.fullmatch(identity):
        return "must have the first 12 or all 64 hex digits of an identity behind its +"
    return why_bad_version(version)
