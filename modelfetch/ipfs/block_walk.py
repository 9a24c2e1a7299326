"""Reading a DAG block by block without knowing where the blocks come from.

A walk says which blocks it needs (:attr:`BlockWalk.wanted`) and is given blocks in any order
(:meth:`BlockWalk.add`), also others than those it needs. It hashes a block first and parses it only if it is
one of them, so their source needs no trust. Blocks are known by their multihash alone: gateways and CAR files
call the same block by CIDs of different versions and codecs. Identity CIDs contain their block, which is used
at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from hashlib import sha256
from typing import Generic, TypeVar

from modelfetch.ipfs.car import BLOCK_LIMIT
from modelfetch.ipfs.cid import IDENTITY, SHA2_256, Cid
from modelfetch.ipfs.errors import MalformedError

Purpose = TypeVar("Purpose")


class BlockWalk(ABC, Generic[Purpose]):
    """Base of walks. ``Purpose`` says why a block is needed; one block can have many."""

    def __init__(self) -> None:
        self._wanted: dict[bytes, tuple[Cid, list[Purpose]]] = {}
        self._inline: list[tuple[bytes, Purpose]] = []

    @property
    def wanted(self) -> tuple[Cid, ...]:
        """CIDs of the blocks that are needed now, in the order in which the walk came across them."""
        return tuple(cid for cid, _ in self._wanted.values())

    def add(self, block: bytes) -> bool:
        """Continue with a block.

        Returns:
            Whether it was one of those wanted; all others are ignored.

        Raises:
            MalformedError: The block is the one that was wanted, and it is invalid or exceeds a limit. The
                walk cannot continue: every source would send the same bytes.
        """
        multihash = bytes((SHA2_256, 32)) + sha256(block).digest()
        found = self._wanted.get(multihash)
        if found is None:
            return False
        if len(block) > BLOCK_LIMIT:
            raise MalformedError(f"block {found[0].text} is longer than {BLOCK_LIMIT} bytes")
        self._visit(block, found[1])
        self._visit_inline()
        # Only now: after an error the block is still wanted, so the walk never looks complete.
        del self._wanted[multihash]
        return True

    def _want(self, cid: Cid, purpose: Purpose) -> None:
        """Continue with a block as soon as it is there."""
        if cid.refusal:
            raise MalformedError(f"block {cid.text}: {cid.refusal}")
        if cid.hash_code == IDENTITY:
            self._inline.append((cid.digest, purpose))
        else:
            self._wanted.setdefault(cid.multihash, (cid, []))[1].append(purpose)

    def _visit_inline(self) -> None:
        """Visit the blocks that were contained in CIDs; a loop, since they can contain others."""
        while self._inline:
            block, purpose = self._inline.pop()
            self._visit(block, [purpose])

    @abstractmethod
    def _visit(self, block: bytes, purposes: list[Purpose]) -> None:
        """Parse a verified block once, and use it for each purpose."""
