"""The cache on disk, and the only code that writes below its root.

It guarantees three things: no final name ever has bytes that differ from its digest, not even for a moment;
bytes that arrived are not fetched again; after a killed run, a full disk or a power cut nobody has to clean
up by hand.

:class:`Store` is the entry point of the package; it returns :class:`Partial` and :class:`Lock` objects.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from modelfetch.store.disk import Disk
from modelfetch.store.group_commit import GroupCommit, Staged
from modelfetch.store.linking import Placed
from modelfetch.store.locks import Lock
from modelfetch.store.quarantine import Quarantined
from modelfetch.store.receipt import Consulted, Receipt, ReceiptFile, Stamp
from modelfetch.store.receipt_store import Hit, ReceiptError
from modelfetch.store.store import Store

if TYPE_CHECKING:
    from modelfetch.store.hashing import Hashing
    from modelfetch.store.partial import Partial
    from modelfetch.store.remove import Removal

__all__ = [
    "Consulted",
    "Disk",
    "GroupCommit",
    "Hashing",
    "Hit",
    "Lock",
    "Partial",
    "Placed",
    "Quarantined",
    "Receipt",
    "ReceiptError",
    "ReceiptFile",
    "Removal",
    "Staged",
    "Stamp",
    "Store",
]

_LATER: Final = {"Hashing": "hashing", "Partial": "partial", "Removal": "remove"}
"""Names of modules that many runs do not need, loaded with their first use."""


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
