"""Reading the cache of the Hugging Face libraries: repositories, snapshots and cached listings.

::

    models--org--name/refs/main                  a commit, without a line break
    models--org--name/snapshots/<commit>/<path>  a link to a blob, or the file itself
    models--org--name/trees/<commit>.json        a complete listing; older clients write none
    models--org--name/blobs/<digest>             SHA-256 of a large file, git blob id of a small one

The cache may be in any state, and another user may write to a shared one. So every value is checked, no link
is followed out of the cache, and directories below its root must be real ones: otherwise a snapshot that is a
link could make any file of this user a part of a model.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.decode import decode
from modelfetch.model.regular_file import open_regular, read_regular
from modelfetch.model.text import did_you_mean, quote
from modelfetch.sources.hf_cache import GIT_BLOB, REPOSITORY, SHA256, regular_inside

if TYPE_CHECKING:
    from modelfetch.model.manifest import RepoType

BLOCK: Final = 1 << 20
"""Bytes read at a time."""
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_NAME: Final = re.compile(r"(?:\w[\w.-]{0,95}/)?\w[\w.-]{0,95}", re.ASCII)
"""Names of repositories (huggingface_hub, ``validate_repo_id``)."""
MOST_DEPTH: Final = 32
"""Most levels of directories in a snapshot."""
MOST_TREE_BYTES: Final = 64 << 20
"""Largest cached listing that is read; one of 100,000 files has about 20 MB."""
_REF_BYTES: Final = 100
_TYPES: Final[dict[str, RepoType]] = {"models": "model", "datasets": "dataset", "spaces": "space"}


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file of a cached listing."""

    size: int
    blob_id: str
    """Its git blob id; of a large file that of its pointer."""
    lfs_sha256: str | None = None

    @property
    def digest(self) -> str:
        """The digest that the bytes must have: a SHA-256 or a git blob id."""
        return self.lfs_sha256 or self.blob_id


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """One file of a snapshot."""

    path: str
    """Path in the repository, with ``/``."""
    location: Path
    blob: str
    """Name of the blob that the file is a link to; empty if it is a file itself."""
    status: os.stat_result | None
    """Status of the bytes; None if the link leads nowhere, or out of the cache."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit of a repository in the cache."""

    commit: str
    refs: tuple[str, ...]
    """Names of branches and tags at this commit, as far as the cache knows."""
    files: tuple[SnapshotFile, ...]
    tree: dict[str, TreeEntry] | None
    """The complete listing, if the cache has it."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Paths that are listed or linked, and not there."""
        broken = {file.path for file in self.files if file.status is None}
        listed = set(self.tree or ()) - {file.path for file in self.files}
        return tuple(sorted(broken | listed))


@dataclass(frozen=True, slots=True)
class CachedRepository:
    """One repository in the cache."""

    root: Path
    """The directory of the cache."""
    folder: Path
    type: RepoType
    repo: str
    """``owner/name``, or a legacy name without an owner."""

    @property
    def name(self) -> str:
        """Its name as in a reference: ``org/name``, ``datasets/org/name``, ``spaces/org/name``."""
        return self.repo if self.type == "model" else f"{self.type}s/{self.repo}"

    def unreadable(self) -> Iterator[tuple[Path, str]]:
        """Yield its directories that exist and cannot be listed, each with the reason."""
        for path in (self.folder / "blobs", self.folder / "snapshots"):
            try:
                os.scandir(path).close()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                yield path, (error.strerror or "unknown error").lower()

    def blobs(self) -> Iterator[Path]:
        """Yield its finished blobs, in the order of their names."""
        for path in _listed(self.folder / "blobs"):
            if is_digest(path.name):
                yield path

    def snapshots(self) -> Iterator[Snapshot]:
        """Yield its snapshots, in the order of their commits."""
        refs = self._refs()
        for directory in _listed(self.folder / "snapshots"):
            if COMMIT.fullmatch(directory.name) and _is_directory(directory):
                yield Snapshot(
                    directory.name,
                    tuple(name for name, commit in refs.items() if commit == directory.name),
                    tuple(self._files(directory)),
                    self._tree(directory.name),
                )

    def _files(self, directory: Path, prefix: str = "", depth: int = 0) -> Iterator[SnapshotFile]:
        for path in _listed(directory):
            if _is_directory(path):
                if depth < MOST_DEPTH:
                    yield from self._files(path, f"{prefix}{path.name}/", depth + 1)
                continue
            yield SnapshotFile(prefix + path.name, path, _blob_of(path), regular_inside(self.root, path))

    def _refs(self) -> dict[str, str]:
        """Return the commit of each branch and tag; ``main`` first."""
        top, found = self.folder / "refs", dict[str, str]()
        for directory, _, names in os.walk(top):
            for name in names:
                path = Path(directory, name)
                try:
                    commit = read_regular(path, _REF_BYTES).decode("ascii").strip()
                except (OSError, ValueError):
                    continue
                if COMMIT.fullmatch(commit):
                    found[path.relative_to(top).as_posix()] = commit
        return dict(sorted(found.items(), key=lambda item: (item[0] != "main", item[0])))

    def _tree(self, commit: str) -> dict[str, TreeEntry] | None:
        """Read a cached listing; one that is absent, damaged or of another format counts as absent."""
        try:
            content = read_regular(self.folder / "trees" / f"{commit}.json", MOST_TREE_BYTES)
            document: Any = json.loads(content)
            if document["format_version"] != 1:
                return None
            files = cast("dict[str, object]", document["files"])
            entries = {path: decode(TreeEntry, entry) for path, entry in files.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
        return entries if all(is_digest(entry.digest) for entry in entries.values()) else None


def repositories(root: Path) -> list[CachedRepository]:
    """Return the repositories of a cache, in the order of their names; empty if it does not exist."""
    found = []
    for folder in _entries(root):  # the root itself may be a link: its owner chose it
        if REPOSITORY.fullmatch(folder.name) and _is_directory(folder):
            kind, _, rest = folder.name.partition("--")
            repo = rest.replace("--", "/", 1)
            if _NAME.fullmatch(repo):  # the Hub has no other names, so no library made such a directory
                found.append(CachedRepository(root, folder, _TYPES[kind], repo))
    return found


def _blob_of(path: Path) -> str:
    """Return the name of the blob that a file is a link to; empty if it is no link, or gone by now."""
    try:
        return path.readlink().name
    except OSError:
        return ""


def did_you_mean_repository(name: str, found: Iterable[CachedRepository]) -> str:
    """Suggest a repository for a name that the cache does not have; see :func:`.did_you_mean`.

    One of the same name in other letters, or of another type, is nearer than one that is spelled alike.
    """
    names = {repository.name: repository.repo for repository in found}
    repo = re.sub(r"^(?:dataset|space)s/", "", name).casefold()
    same = next((known for known, own in names.items() if own.casefold() == repo), None)
    return f" Did you mean {quote(same)}?" if same else did_you_mean(name, names)


def _is_directory(path: Path) -> bool:
    """Whether a path is a directory itself, not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _listed(directory: Path) -> list[Path]:
    """Return the entries of a directory that is no link; anything else counts as empty."""
    return _entries(directory) if _is_directory(directory) else []


def _entries(directory: Path) -> list[Path]:
    """Return the entries of a directory, sorted; one that cannot be read counts as empty."""
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def is_digest(name: str) -> bool:
    """Whether a name is a digest: a SHA-256 or a git blob id."""
    return bool(SHA256.fullmatch(name) or GIT_BLOB.fullmatch(name))


def hasher_for(digest: str, size: int) -> Any:
    """Return the hash whose hexadecimal value a digest is: SHA-256, or the SHA-1 of a git blob.

    A git blob id is the SHA-1 of ``blob``, a space, the length in decimal, a zero byte, and the bytes
    (gitformat-loose, "loose object").

    Args:
        digest: 64 or 40 hexadecimal digits.
        size: Number of bytes.
    """
    if SHA256.fullmatch(digest):
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def read_pieces(path: Path, check: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """Yield the bytes of a file.

    Args:
        path: The file.
        check: Called before each piece; raises to stop.

    Raises:
        OSError: It cannot be read.
    """
    with open_regular(path) as file:
        while piece := file.read(BLOCK):
            check()
            yield piece
