"""What the gateways of one file share: the CID that its path leads to, and its leaf table.

Both are read from blocks that each prove themselves, so it does not matter which gateway sends which of them:
a block that one gateway sent is not requested from the next. Directories are kept for the run, because the
files of a model usually lie in the same ones.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from modelfetch.errors import Fault, SourceError
from modelfetch.ipfs.directory import NotFoundError, PathLookup
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.leaf_table_reader import LeafTableReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelfetch.ipfs.cid import Cid
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.sources.ipfs_gateway import Gateway

KEPT_BYTES: Final = 32 << 20
"""Most bytes of directories that are kept. A directory of 20,000 files, the most of a manifest, has 2 MB."""


class NoTableError(SourceError):
    """The CID does not identify a file that can be verified in parts. No gateway can help."""


class BlockCache:
    """Blocks of directories, for one run. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: dict[bytes, bytes] = {}
        self._left = KEPT_BYTES

    def find(self, cid: Cid) -> bytes | None:
        """Return a block, if it is kept."""
        return self._blocks.get(cid.multihash)

    def keep(self, cid: Cid, block: bytes) -> None:
        """Keep a verified block, while there is room."""
        with self._lock:
            if cid.multihash not in self._blocks and len(block) <= self._left:
                self._blocks[cid.multihash] = block
                self._left -= len(block)


class FileContent:
    """One file on IPFS. May be used by several threads, each with a gateway of its own.

    Args:
        root: CID of the file, or of a directory.
        names: The names of the path below a directory; none for the CID of a file.
        size: Size of the file in bytes; None if it is not known.
        directories: Blocks of directories of the run.
    """

    def __init__(self, root: Cid, names: Sequence[str], size: int | None, directories: BlockCache) -> None:
        self.root = root
        self.table: LeafTable | None = None
        """Set as soon as it is known, from here or from elsewhere."""
        self._names = [name.encode() for name in names]
        self._size = size
        self._directories = directories
        self._lock = threading.Lock()
        self._lookup: PathLookup | None = None
        self._reader: LeafTableReader | None = None
        self._refusal: tuple[Fault, str] | None = None
        """Why there is no table, whichever gateway is asked."""

    def leaf_table(self, gateway: Gateway, first_byte: float | None = None) -> LeafTable:
        """Return the table; missing blocks are requested from a gateway.

        Args:
            gateway: Is asked.
            first_byte: Seconds for the first byte of each block.

        Raises:
            NoTableError: The content has none.
            SourceError: The gateway failed. What it sent until then is kept.
            Cancelled: The run was cancelled.
        """
        while True:
            # The lock is not held during a request: a silent gateway must not stop another thread.
            with self._lock:
                wanted = self._next()
            if wanted is None:
                assert self.table is not None, "else a block is wanted"
                return self.table
            block = self._directories.find(wanted) or gateway.block(wanted, first_byte)
            with self._lock:
                self._add(wanted, block)

    def _next(self) -> Cid | None:
        """Return the block that is needed next; None if the table is complete."""
        if self.table is not None:
            return None
        self._raise_refusal()
        try:
            self._lookup = self._lookup or PathLookup(self.root, self._names)
            target = self._lookup.target
            if target is None:
                return self._lookup.wanted[0]
            self._reader = self._reader or LeafTableReader(target, self._size)
            self.table = self._reader.table
        except MalformedError as error:
            self._refuse(error)
        return None if self.table is not None or self._reader is None else self._reader.wanted[0]

    def _add(self, cid: Cid, block: bytes) -> None:
        """Add a verified block; another thread may have added it meanwhile."""
        if self.table is not None:
            return
        self._raise_refusal()
        assert self._lookup is not None, "made by _next()"
        try:
            if self._lookup.target is None:
                self._directories.keep(cid, block)
                self._lookup.add(block)
            elif self._reader is not None:
                self._reader.add(block)
        except MalformedError as error:
            self._refuse(error)

    def _refuse(self, error: MalformedError) -> None:
        self._refusal = Fault.PROTOCOL, f"the CID in the manifest does not lead to this file: {error}"
        if isinstance(error, NotFoundError):
            self._refusal = Fault.NOT_FOUND, f"not in the directory of the manifest: {error}"
        self._raise_refusal()

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            raise NoTableError(*self._refusal)
