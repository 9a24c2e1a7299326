"""The cache on disk, and the only code that writes below its root.

It guarantees three things: no final name ever has bytes that differ from its digest, not even for a moment;
bytes that arrived are not fetched again; after a killed run, a full disk or a power cut nobody has to clean
up by hand.

:class:`Store` is the entry point of the package; it returns :class:`Partial` and :class:`Lock` objects.

The names are imported on first use: a command that only looks at models loads a third of the modules.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk
    from modelfetch.store.group_commit import GroupCommit, Staged
    from modelfetch.store.hashing import Hashing
    from modelfetch.store.linking import Placed
    from modelfetch.store.locks import Lock
    from modelfetch.store.partial import Partial
    from modelfetch.store.quarantine import Quarantined
    from modelfetch.store.receipt import Consulted, Receipt, ReceiptFile, Stamp
    from modelfetch.store.receipt_store import Hit, ReceiptError
    from modelfetch.store.remove import Removal
    from modelfetch.store.store import Store

_MODULES = {
    "Consulted": "receipt",
    "Disk": "disk",
    "GroupCommit": "group_commit",
    "Hashing": "hashing",
    "Hit": "receipt_store",
    "Lock": "locks",
    "Partial": "partial",
    "Placed": "linking",
    "Quarantined": "quarantine",
    "Receipt": "receipt",
    "ReceiptError": "receipt_store",
    "ReceiptFile": "receipt",
    "Removal": "remove",
    "Staged": "group_commit",
    "Stamp": "receipt",
    "Store": "store",
}
"""The module in this package of each name."""

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

if not TYPE_CHECKING:  # else a type checker takes every misspelled name for an attribute

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return found
