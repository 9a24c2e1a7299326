"""The cache on disk, and the only code that writes below its root.

It guarantees three things: no final name ever has bytes that differ from its digest, not even for a moment;
bytes that arrived are not fetched again; after a killed run, a full disk or a power cut nobody has to clean
up by hand.

:class:`Store` is the entry point of the package; it returns :class:`Partial` and :class:`Lock` objects.
"""

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
