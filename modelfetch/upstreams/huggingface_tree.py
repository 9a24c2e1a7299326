"""Entries of a tree listing of the Hugging Face Hub, and what each of their digests is. Pure.

::

    {"type": "file", "path": "model.safetensors", "size": 548105171, "oid": "7a8a5f49...",
     "lfs": {"oid": "248dfc39...", "size": 548105171, "pointerSize": 134}, "xetHash": "..."}

``lfs.oid`` is the SHA-256 of the bytes. ``oid`` is a git blob id (SHA-1): of a plain file that of the bytes,
of an LFS file that of its pointer, which contains SHA-256 and size, so both can be cross-checked without a
request. ``xetHash`` also has 64 digits, but it is another digest and is ignored.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import quote
from modelfetch.upstreams.base import UpstreamFile
from modelfetch.upstreams.collect import checked, nonsense
from modelfetch.upstreams.reading import LFS_VERSION

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHA1: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class _Lfs:
    oid: str
    size: int
    pointerSize: int | None = None  # noqa: N815 - the key of the Hub


@dataclass(frozen=True, slots=True)
class _Entry:
    type: str
    path: str
    size: int = 0
    oid: str | None = None
    lfs: _Lfs | None = None


def file_of(document: object, host: str) -> UpstreamFile | None:
    """Return the file of an entry; None for a directory.

    Args:
        document: The entry.
        host: The hub, for messages.

    Raises:
        UnavailableError: The entry cannot be read, or its digests contradict each other.
        UsageError: The entry is neither a file nor a directory, such as a submodule.
    """
    entry = checked(_Entry, document, f"{host}: an entry of the listing")
    if entry.type == "directory":
        return None
    if entry.type != "file":
        raise UsageError(
            f"{quote(entry.path)} is neither a file nor a directory, so it cannot be pinned "
            f"({host} calls it {quote(entry.type)})",
            hint="Name a folder of the repository that does not contain it, by the address of its page.",
        )
    if entry.lfs is None:
        is_id = entry.oid is not None and _SHA1.fullmatch(entry.oid)
        return UpstreamFile(entry.path, entry.size, None, git_blob=entry.oid if is_id else None)
    if not _SHA256.fullmatch(entry.lfs.oid) or _contradicts(entry.lfs, entry.size, entry.oid):
        raise nonsense(f"{host}: the digests of {quote(entry.path)} contradict each other")
    return UpstreamFile(entry.path, entry.lfs.size, entry.lfs.oid)


def _contradicts(lfs: _Lfs, size: int, oid: str | None) -> bool:
    """Return whether the size of the entry, or the blob id of the pointer, disproves SHA-256 or size.

    A pointer of another length than the canonical one has further lines, and nothing can be concluded.
    """
    if size not in (lfs.size, lfs.pointerSize):
        return True
    pointer = LFS_VERSION + f"oid sha256:{lfs.oid}\nsize {lfs.size}\n".encode()
    if oid is None or lfs.pointerSize not in (None, len(pointer)):
        return False
    return oid != git_blob_id(pointer)


def git_blob_id(content: bytes) -> str:
    """Return the git blob id of a file: the SHA-1 of a header with its length, and its bytes."""
    header = b"blob %d\0" % len(content)
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
