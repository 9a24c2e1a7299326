"""The paths below the cache root. Pure: computes paths, never accesses the disk.

::

    blobs/sha256/3f/3f...          verified bytes
    chunks/sha256/3f/3f....car     the chunk map of a blob
    models/<name>/<label>/...      the files that programs open
    models/<name>/<label>.json     the receipt
    partial/3f.../                 an unfinished download
    quarantine/  locks/

Names are checked here again, so that no digest, model name or file path can lead out of the root, even if a
value did not come from the parser (CVE-2024-37032 was a digest that became a path).
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Final

from modelfetch.errors import UsageError
from modelfetch.model.paths import why_bad_label, why_bad_name, why_unplaceable, why_unsafe
from modelfetch.model.text import quote
from modelfetch.warm import HITS

IDENTITY_DIGITS: Final = 12
"""Hex digits of a manifest's identity in a directory name. 48 bits: collisions can be made on purpose, so
:func:`labels` has a further name with all digits."""

CHUNK_MAP_SUFFIX: Final = ".car"

MOST_PATHS: Final = 4096
"""The most paths of files that are kept, about 450 bytes each. A run needs that of each file three times, and
making one takes as long as a system call."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Layout:
    """The paths of one cache.

    Args:
        root: Absolute.

    Attributes:
        models: The files that programs open, in a directory per model.
        blobs: Verified bytes, by digest.
        chunk_maps: Chunk maps, by the digest of their blob.
        partials: Unfinished downloads, by digest.
        quarantine: Wrong bytes, kept as evidence.
        locks: Lock files, and notes about their holders.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.models = root / "models"
        self.blobs = root / "blobs" / "sha256"
        self.chunk_maps = root / "chunks" / "sha256"
        self.partials = root / "partial"
        self.quarantine = root / "quarantine"
        self.locks = root / "locks"

    @lru_cache(maxsize=MOST_PATHS)  # noqa: B019 - as for version
    def blob(self, sha256: str) -> Path:
        """The path of a blob."""
        return self.blobs / f"{_digest(sha256)[:2]}/{sha256}"

    def chunk_map(self, sha256: str) -> Path:
        """The path of the chunk map of a blob."""
        return self.chunk_maps / f"{_digest(sha256)[:2]}/{sha256}{CHUNK_MAP_SUFFIX}"

    def partial(self, sha256: str) -> Path:
        """The directory of an unfinished download."""
        return self.partials / _digest(sha256)

    @lru_cache(maxsize=64)  # noqa: B019 - as for version; a list asks several times in a row for each model
    def model(self, name: str) -> Path:
        """The directory of all versions of a model."""
        return self.models / _checked(name, "name", why_bad_name(name))

    @lru_cache(maxsize=64)  # noqa: B019 - there are few caches in a process, and few models in a run
    def version(self, name: str, label: str) -> Path:
        """The directory of one version of a model; see :func:`labels`."""
        return self.model(name) / _checked(label, "version", why_bad_label(label))

    def receipt(self, name: str, label: str) -> Path:
        """The receipt of one version of a model."""
        directory = self.version(name, label)
        return directory.with_name(f"{directory.name}.json")

    def stamp(self, name: str) -> Path:
        """The stamp file that :mod:`modelfetch.warm` reads."""
        return self.model(name) / ".ready"

    def hits(self) -> tuple[Path, Path]:
        """The records of warm runs: the rotated file, then the current one."""
        return self.root / f"{HITS}.1", self.root / HITS

    def upkeep(self) -> Path:
        """The file whose modification time is that of the latest upkeep; it lies where nothing is kept."""
        return self.locks / "upkeep"

    def file(self, name: str, label: str, path: str) -> Path:
        """The path of one file of a model."""
        return inside(self.version(name, label), path)

    def model_lock(self, name: str) -> Path:
        """The lock of a model."""
        return self.locks / f"model-{self.model(name).name}.lock"

    def blob_lock(self, sha256: str) -> Path:
        """The lock of a digest."""
        return self.locks / f"blob-{_digest(sha256)}.lock"


def labels(version: str, identity: str) -> tuple[str, str, str]:
    """Return the directory names a version of a model may have, in order of preference.

    Any manifest may claim a name and version. The first one verified under them gets ``<version>``, every
    other one ``<version>+<identity>``, first with twelve digits of the identity, then with all of them.
    """
    return version, f"{version}+{identity[:IDENTITY_DIGITS]}", f"{version}+{identity}"


@lru_cache(maxsize=MOST_PATHS)
def inside(directory: Path, path: str) -> Path:
    """Join a model file's path to a directory.

    Raises:
        UsageError: The path is not safe.
    """
    return directory / _checked(path, "path", why_unsafe(path))


def within(directory: Path, path: str) -> Path:
    """Join a repository path to a directory of another program.

    Raises:
        UsageError: The path leads out of the directory, or is invalid on this system.
    """
    return directory / _checked(path, "path", why_unplaceable(path, windows=os.name == "nt"))


def is_digest(text: str) -> bool:
    """Whether a text is a SHA-256 in hexadecimal."""
    return _DIGEST.fullmatch(text) is not None


def _digest(text: str) -> str:
    return _checked(text, "digest", "" if is_digest(text) else "must be 64 lower-case hex digits")


def _checked(text: str, what: str, fault: str) -> str:
    if fault:
        raise UsageError(f"the {what} {quote(text)} {fault}")
    return text
