"""CIDs of files and directories on this disk, as other tools compute them under the same profile.

Both profiles treat what is in a directory alike (IPIP-499): hidden files and directories are left out, empty
directories are kept, and symbolic links stay links. A link that is given as the path itself is followed, as
by ``sha256sum``. For a directory ``m`` with ``a.bin``, ``sub/`` and a link ``b`` to ``a.bin``::

    m        node with links to a.bin, b and sub
    m/b      node of type symbolic link, with the text ``a.bin``
    m/sub    node without links
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from modelfetch.errors import StoreError, UsageError
from modelfetch.ipfs import dag_pb, unixfs
from modelfetch.ipfs.cid import DAG_PB, Cid, cid_of
from modelfetch.ipfs.dag_pb import Link, Node
from modelfetch.ipfs.directory_builder import build_directory
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.unixfs import Kind, Message
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import quote
from modelfetch.publish.tree_hashing import HashingPool, hash_file, unreadable

if TYPE_CHECKING:
    from modelfetch.ipfs.profiles import Profile

DEPTH: Final = 256
"""Most directories inside each other. Each takes three frames of Python's stack, which has 1,000."""

ShowFile = Callable[[Path, int, int], None]
"""Gets a file, the bytes of it that were read, and its size."""


@dataclass(frozen=True, slots=True)
class PathCid:
    """What a path is on IPFS."""

    path: Path
    kind: Literal["file", "directory", "link"]
    cid: Cid
    size: int
    """Bytes of all files."""
    tsize: int
    """Bytes of all blocks."""
    links: int = 0
    """Symbolic links at or below the path."""


class DiskCids:
    """Computes the CIDs of paths.

    Args:
        profile: How files and directories become blocks.
        pool: Hashes chunks.
        show: Called while a file is read.
    """

    def __init__(self, profile: Profile, pool: HashingPool, show: ShowFile = lambda *_: None) -> None:
        self._profile = profile
        self._pool = pool
        self._show = show

    def compute(self, path: Path) -> PathCid:
        """Compute the CID of a path.

        Raises:
            StoreError: Something cannot be read, or changed meanwhile.
            UsageError: Something is neither file, directory nor link, or has a name that IPFS cannot have.
        """
        try:
            found = path.stat()
        except OSError as error:
            raise unreadable(path, error) from error
        return self._of(path, found, 0)

    def _of(self, path: Path, found: os.stat_result, depth: int) -> PathCid:
        if stat.S_ISDIR(found.st_mode):
            return self._directory(path, depth)
        if stat.S_ISREG(found.st_mode):
            return self._file(path, found.st_size)
        if stat.S_ISLNK(found.st_mode):
            return self._link(path)
        raise UsageError(
            f"{quote(str(path), 200)} is neither a file nor a directory",
            hint="Move it out of the directory." if depth else "Give a file or a directory.",
        )

    def _file(self, path: Path, size: int) -> PathCid:
        def progress(done: int) -> None:
            self._show(path, done, size)

        tree = hash_file(path, self._profile, self._pool, progress=progress).tree
        return PathCid(path, "file", tree.root, tree.size, tree.tsize)

    def _link(self, path: Path) -> PathCid:
        try:
            target = os.fsencode(path.readlink())
        except OSError as error:
            raise unreadable(path, error) from error
        block = dag_pb.encode(Node((), unixfs.encode(Message(Kind.SYMLINK, target))))
        cid = cid_of(block, DAG_PB, self._profile.cid_version)
        return PathCid(path, "link", cid, 0, len(block), links=1)

    def _directory(self, path: Path, depth: int) -> PathCid:
        if depth >= DEPTH:
            raise UsageError(f"{quote(str(path), 200)} is more than {DEPTH} directories deep")
        try:
            with os.scandir(path) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
                kinds = [(entry.name, entry.stat(follow_symlinks=False)) for entry in visible]
        except OSError as error:
            raise unreadable(path, error) from error
        below = [self._of(path / name, found, depth + 1) for name, found in sorted(kinds)]
        links = [Link(each.cid, os.fsencode(each.path.name), each.tsize) for each in below]
        try:
            built = build_directory(links, self._profile)
        except MalformedError as error:
            raise StoreError(f"{quote(str(path), 200)} cannot be a directory of IPFS: {error}") from None
        size, count = sum(each.size for each in below), sum(each.links for each in below)
        return PathCid(path, "directory", built.root, size, built.tsize, count)
