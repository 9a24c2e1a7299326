"""The directories of models as blocks of IPFS, up to a number of bytes. Pure.

Those of a model are kept together, by the root that its manifest states, as they are made together. A client
asks for the root first, so what was dropped is made again then. Two models may have a directory in common::

    kept.keep(root, {root: block, below: block})
    kept.find(below)                                        the block
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Final

_BLOCK_BYTES: Final = 240
"""What a block takes besides its bytes: two objects, and its places in three tables (measured)."""


class KeptDirectories:
    """Directories by multihash. Not thread-safe.

    Args:
        limit: Bytes to keep; those of the latest model are kept even if they alone have more.

    Attributes:
        size: Bytes that are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._models: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()
        """By root, the one used last at the end: the directories below it."""
        self._blocks: dict[bytes, bytes] = {}
        self._uses: Counter[bytes] = Counter()
        """How many models have a directory."""
        self.size = 0

    def use(self, root: bytes) -> bool:
        """Note that the directories of a model are used; whether they are kept."""
        if root not in self._models:
            return False
        self._models.move_to_end(root)
        return True

    def find(self, multihash: bytes) -> bytes | None:
        """Return a directory, or None."""
        return self._blocks.get(multihash)

    def keep(self, root: bytes, directories: Mapping[bytes, bytes]) -> None:
        """Keep the directories of a model; those of models that were used longest ago are dropped.

        Args:
            root: That of the model, which is not kept yet.
            directories: All of them, the root among them.
        """
        self._models[root] = tuple(directories)
        for multihash, block in directories.items():
            self._uses[multihash] += 1
            if self._uses[multihash] == 1:
                self._blocks[multihash] = block
                self.size += len(block) + _BLOCK_BYTES
        while self.size > self._limit and len(self._models) > 1:
            self._drop(self._models.popitem(last=False)[1])

    def _drop(self, directories: tuple[bytes, ...]) -> None:
        for multihash in directories:
            self._uses[multihash] -= 1
            if not self._uses[multihash]:
                del self._uses[multihash]
                self.size -= len(self._blocks.pop(multihash)) + _BLOCK_BYTES
