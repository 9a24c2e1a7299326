"""The last use of each model: the latest of its verification and of the runs that found it present.

Three records are read, and the latest time counts:

* the receipt: when each file was verified,
* ``hits``: the latest warm runs, to the second, but only some thousands of them and only if history is kept,
* the modification time of the model's directory: every run that uses the model sets it, at most once a day.

So a use is never lost, and is known to the day at least.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from modelfetch.model.units import format_time

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.store import Receipt, Store


_LATEST: Final = 32_503_680_000.0
"""The year 3000, in seconds since 1970: another user may have set a time that no calendar has."""


class LastUses:
    """The last use of each model of a cache."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Oldest first, so the latest one of a directory remains.
        self._hits = {(hit.model, hit.directory): hit.at for hit in store.hits()}

    def of(self, manifest: Manifest) -> str | None:
        """Return the time in UTC, ``2026-11-20T06:00:00Z``; None for a model without a receipt."""
        receipt = self._store.receipt(manifest)
        return None if receipt is None else format_time(self.of_receipt(receipt))

    def of_receipt(self, receipt: Receipt) -> datetime:
        """Return the last use of the version that a receipt describes."""
        times = [file.verified_at for file in receipt.files]
        times += filter(None, [self._hits.get((receipt.name, receipt.label))])
        times.append(datetime.fromtimestamp(min(max(0.0, self._store.touched(receipt)), _LATEST), UTC))
        return max(times).astimezone(UTC)
