"""Notes in the cache about uploads under way: a push that was killed continues in the middle of a blob.

A note has the address at which an upload continues, and lies in a file that its user alone can read::

    <cache>/uploads/<SHA-256 of "registry/repository@sha256:hex">.json

Only an address below the uploads of the same repository, at the registry's own origin, is written or read:
a note cannot make a later push send anything elsewhere. A note that is wrong costs one request. If the
directory is not the user's alone, as in a cache that is shared, nothing is noted.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from modelfetch.model.regular_file import read_regular
from modelfetch.net.registry_uploads import Upload
from modelfetch.net.urls import origin
from modelfetch.settings.replace_file import replace_file

if TYPE_CHECKING:
    from modelfetch.net.registry_urls import RegistryRepository

DIRECTORY: Final = "uploads"
_BYTES: Final = 16 * 1024
"""Largest note in bytes; addresses have up to 1,000."""
_SECONDS: Final = 7 * 86_400
"""Notes that are older are deleted: distribution discards uploads after a week (uploadpurging)."""


class UploadNotes:
    """The notes of one cache.

    Args:
        root: The cache's directory.
    """

    def __init__(self, root: Path) -> None:
        self._directory = root / DIRECTORY

    def load(self, repository: RegistryRepository, sha256: str) -> Upload | None:
        """Return the noted upload of a blob, or None."""
        if not self._is_own():
            return None
        try:
            url = json.loads(read_regular(self._path(repository, sha256), _BYTES))["url"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        return Upload(url) if isinstance(url, str) and _is_expected(url, repository) else None

    def save(self, repository: RegistryRepository, sha256: str, upload: Upload) -> None:
        """Note an upload. Without a note, a push that is killed begins the blob anew: no error is raised."""
        if upload.public_only or not _is_expected(upload.url, repository):
            return
        document = {"blob": f"{repository.text}@sha256:{sha256}", "url": upload.url}
        with suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._is_own():
                replace_file(self._path(repository, sha256), json.dumps(document).encode())

    def forget(self, repository: RegistryRepository, sha256: str) -> None:
        """Delete the note about a blob."""
        if self._is_own():
            with suppress(OSError):
                self._path(repository, sha256).unlink()

    def tidy(self) -> None:
        """Delete old notes, and the directory if nothing is left."""
        if not self._is_own():
            return
        with suppress(OSError):
            for path in self._directory.iterdir():
                if time.time() - path.lstat().st_mtime > _SECONDS:
                    path.unlink()
            self._directory.rmdir()  # refused unless it is empty

    def _path(self, repository: RegistryRepository, sha256: str) -> Path:
        key = hashlib.sha256(f"{repository.text}@sha256:{sha256}".encode()).hexdigest()
        return self._directory / f"{key}.json"

    def _is_own(self) -> bool:
        """Whether no one else can read or write in the directory."""
        try:
            found = self._directory.lstat()
        except OSError:
            return False
        is_mine = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o077)
        return stat.S_ISDIR(found.st_mode) and is_mine


def _is_expected(url: str, repository: RegistryRepository) -> bool:
    """Whether an address is one of an upload to this repository."""
    try:
        is_own = origin(url) == origin(repository.endpoint)
        path = urlsplit(url).path
    except ValueError:
        return False
    start = urlsplit(repository.uploads_url).path
    is_plain = url.isascii() and url.isprintable() and ".." not in path and "@" not in urlsplit(url).netloc
    return is_own and is_plain and path.startswith(start)
