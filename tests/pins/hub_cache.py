"""Builds caches of the Hugging Face libraries by hand, in each of their layouts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COMMIT = "c0ffee" + "0" * 34
LARGE = 1000
"""Files of at least this many bytes are named by their SHA-256, as files in LFS are."""


def blob_name(data: bytes) -> str:
    """The name of the blob of a file."""
    if len(data) >= LARGE:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def add_repository(
    root: Path,
    name: str,
    files: Mapping[str, bytes],
    *,
    commit: str = COMMIT,
    refs: tuple[str, ...] = ("main",),
    tree: Mapping[str, bytes] | None = None,
    shared: bool = False,
    linked: bool = True,
) -> Path:
    """Add a repository, or another commit of it.

    Args:
        root: The cache.
        name: ``models--org--name``.
        files: The files of the snapshot.
        commit: Its commit.
        refs: Branches and tags at the commit.
        tree: The files of its cached listing; None for no listing.
        shared: Whether large files lie in the shared store of newer clients.
        linked: Whether the snapshot has links, as on most systems.
    """
    folder = root / name
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    for ref in refs:
        _write(folder / "refs" / ref, commit.encode())
    for path, data in files.items():
        place = folder / "snapshots" / commit / path
        if not linked:
            _write(place, data)
            continue
        blob = folder / "blobs" / blob_name(data)
        if shared and len(data) >= LARGE:
            _link(blob, _write(shared_place(root, data), data))
        else:
            _write(blob, data)
        _link(place, blob)
    if tree is not None:
        document = {"format_version": 1, "files": {path: _entry(data) for path, data in tree.items()}}
        _write(folder / "trees" / f"{commit}.json", json.dumps(document).encode())
    return folder


def shared_place(root: Path, data: bytes) -> Path:
    """Where the shared store has a file: its name is another hash than the SHA-256."""
    other = hashlib.blake2s(data).hexdigest()
    return root / "blobs" / other[:2] / other


def _entry(data: bytes) -> dict[str, Any]:
    if len(data) < LARGE:
        return {"size": len(data), "blob_id": blob_name(data)}
    large = {"lfs_sha256": blob_name(data), "lfs_size": len(data), "xet_hash": "e" * 64}
    return {"size": len(data), "blob_id": "d" * 40, **large}


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(os.path.relpath(target, path.parent))


def flip_a_bit(path: Path) -> None:
    """Damage one byte of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
