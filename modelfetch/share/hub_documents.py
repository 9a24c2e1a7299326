"""The documents of the Hugging Face API for a repository that manifests pin. Pure.

What clients read of them, in short::

    /api/models/org/repo/revision/main         {"id": "org/repo", "sha": "<commit>", "siblings": [...]}
    /api/models/org/repo/tree/main?recursive   [{"type": "file", "path", "size", "oid", "lfs": {"oid", ...}}]

Every file is described as an LFS file, because then its digest is the SHA-256 that the manifest pins. The git
blob id of such a file is that of its pointer, so it can be computed. Other git ids and dates are not known
here. There is no ``xetHash``: clients would fetch the file from another server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from modelfetch.model.manifest import FileSpec

if TYPE_CHECKING:
    from modelfetch.share.model_index import HubRepo, PinnedFile, Snapshot

_POINTER: Final = "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
"""Content of the git blob of an LFS file (git-lfs, docs/spec.md)."""


def info(
    repo: HubRepo, snapshot: Snapshot, files: Mapping[str, PinnedFile], *, blobs: bool
) -> dict[str, Any]:
    """Describe a repository at a commit: ``/api/models/ID/revision/REV``.

    Args:
        repo: The repository.
        snapshot: The commit.
        files: Its files by path.
        blobs: Whether sizes and digests are stated, too (``?blobs=true``).
    """
    licenses = {each.license.lower() for each in snapshot.manifests if each.license}
    document: dict[str, Any] = {
        "id": repo.name,
        "sha": snapshot.commit,
        "private": False,
        "gated": False,
        "disabled": False,
        "tags": [],
        "siblings": [_sibling(path, pinned.file, blobs=blobs) for path, pinned in files.items()],
    }
    if repo.type == "model":
        document["modelId"] = repo.name  # what older clients read
    if len(licenses) == 1:  # of several the client could not tell which files have which
        document["cardData"] = {"license": licenses.pop()}
    return document


def _sibling(path: str, file: FileSpec, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    pointer = _pointer(file)
    lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": len(pointer)}
    return {"rfilename": path, "size": file.size, "blobId": _git_blob(pointer), "lfs": lfs}


def tree(
    files: Mapping[str, PinnedFile], folder: str = "", *, recursive: bool = False
) -> list[dict[str, Any]] | None:
    """List a folder: ``/api/models/ID/tree/REV/FOLDER``.

    Args:
        files: All files of the commit by path, sorted.
        folder: The folder; empty for all.
        recursive: Whether what is in folders below is listed, too.

    Returns:
        Folders and files; None if there is no such folder.
    """
    prefix = f"{folder}/" if folder else ""
    folders: dict[str, None] = {}
    found: list[dict[str, Any]] = []
    is_there = not folder
    for path, pinned in files.items():
        if not path.startswith(prefix):
            continue
        is_there = True
        parents = path.removeprefix(prefix).split("/")[:-1]
        depth = len(parents) if recursive else min(1, len(parents))
        for count in range(1, depth + 1):
            folders[prefix + "/".join(parents[:count])] = None
        if recursive or not parents:
            found.append(_entry(path, pinned.file))
    return [*map(_folder, folders), *found] if is_there else None


def paths_info(files: Mapping[str, PinnedFile], paths: Iterable[str]) -> list[dict[str, Any]]:
    """Describe some files and folders: ``/api/models/ID/paths-info/REV``; unknown paths are left out."""
    folders = _folders_of(files)
    found = []
    for path in dict.fromkeys(paths):
        if path in files:
            found.append(_entry(path, files[path].file))
        elif path in folders:
            found.append(_folder(path))
    return found


def _folders_of(paths: Iterable[str]) -> set[str]:
    folders: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:  # those above a known one are known, too
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders


def _entry(path: str, file: FileSpec) -> dict[str, Any]:
    pointer = _pointer(file)
    lfs = {"oid": file.sha256, "size": file.size, "pointerSize": len(pointer)}
    return {"type": "file", "oid": _git_blob(pointer), "size": file.size, "path": path, "lfs": lfs}


def _folder(path: str) -> dict[str, Any]:
    # The id of its git tree is not known; clients need some id of this form.
    tree_id = hashlib.sha256(path.encode()).hexdigest()[:40]
    return {"type": "directory", "oid": tree_id, "size": 0, "path": path}


def _pointer(file: FileSpec) -> bytes:
    return _POINTER.format(sha256=file.sha256, size=file.size).encode()


def _git_blob(content: bytes) -> str:
    """Return the id of a git blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def file_headers(snapshot: Snapshot, path: str, file: FileSpec) -> dict[str, str]:
    """Return the headers that clients need with a file, besides those of the bytes themselves.

    ``X-Linked-Size`` and ``X-Linked-Etag`` stand on the redirects of the Hub, where ``Content-Length`` is
    that of the redirect. Here is no redirect, but some clients read only these.
    """
    name = path.rpartition("/")[2]
    return {
        "x-repo-commit": snapshot.commit,
        "x-linked-size": str(file.size),
        "x-linked-etag": f'"{file.sha256}"',
        "content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
    }
