"""Removes from a cache what a policy lets go, or computes what that would be.

The order is: old partials, quarantine entries and blobs without a model, then versions by their age, then
versions by their last use until the cache is small enough. A dry run goes through the same steps with the
same counts (:mod:`modelfetch.store.reclaim`). What another process uses, and what the system refuses to
remove, is skipped and reported; the rest goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from modelfetch.errors import ModelfetchError, StoreError
from modelfetch.keep.last_use import LastUses
from modelfetch.keep.policy import Choice, Policy, Version, by_last_use, expired, outlived
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.store.reclaim import BusyError

if TYPE_CHECKING:
    from modelfetch.store.reclaim import Reclaimed, Reclaimer
    from modelfetch.store.survey import HeldVersion, Survey
    from modelfetch.workspace import Workspace

Kind = Literal["partial", "quarantine", "blob", "version"]

_LATEST_NS: Final = 2**63 - 1
"""Largest time in nanoseconds since 1970 that fits 64 bits, in the year 2262."""


@dataclass(frozen=True, slots=True)
class Action:
    """One removal, done or proposed."""

    kind: Kind
    name: str
    """The model; else the digest, or the name of the quarantine entry."""
    version: str
    """Name of the version's directory; empty for another kind."""
    reason: str
    paths: tuple[Path, ...]
    freed: int
    """Bytes of disk space."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was to go, and stays."""

    kind: Kind
    name: str
    version: str
    why: str


@dataclass(frozen=True, slots=True)
class CleanUp:
    """The result of a clean-up, or of a dry run."""

    size: int
    """Bytes on the disk before it."""
    actions: list[Action] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def freed(self) -> int:
        """Bytes of disk space that all removals free together."""
        return sum(action.freed for action in self.actions)

    @property
    def size_after(self) -> int:
        """Bytes on the disk after it."""
        return self.size - self.freed


def clean_up(workspace: Workspace, policy: Policy, now: float, *, dry_run: bool) -> CleanUp:
    """Remove what the policy lets go.

    Args:
        workspace: The cache, and the catalogs whose pins are not replaced versions.
        policy: What may go.
        now: The present, in seconds since 1970.
        dry_run: Whether nothing is removed.
    """
    seen = workspace.store.survey()
    run = _Run(workspace.store.reclaimer(seen, dry_run=dry_run), CleanUp(seen.size))
    run.leftovers(seen, policy, now)
    versions = list(_versions(workspace, seen.versions))
    run.versions(outlived(versions, policy, now))
    if policy.max_size is not None:
        done: list[Action | Skipped] = [*run.result.actions, *run.result.skipped]
        gone = {(each.name, each.version) for each in done}
        rest = [each for each in versions if (each.name, each.label) not in gone]
        run.versions(by_last_use(rest, policy), until=policy.max_size)
    return run.result


def clean_leftovers(workspace: Workspace, policy: Policy, now: float) -> CleanUp:
    """Remove only partials and quarantine entries past their days: what may happen without being asked."""
    seen = workspace.store.survey()
    run = _Run(workspace.store.reclaimer(seen, dry_run=False), CleanUp(seen.size))
    run.leftovers(seen, policy, now, blobs=False)
    return run.result


class _Run:
    def __init__(self, reclaimer: Reclaimer, result: CleanUp) -> None:
        self._reclaimer = reclaimer
        self.result = result

    def leftovers(self, seen: Survey, policy: Policy, now: float, *, blobs: bool = True) -> None:
        """Remove leftovers past their days."""
        for each in expired(seen.partials, policy.partial_days, now):
            self._do("partial", each.key, "", "interrupted download", self._reclaimer.partial)
        for each in expired(seen.quarantined, policy.quarantine_days, now):
            self._do("quarantine", each.key, "", "wrong data", self._reclaimer.quarantined)
        for each in expired(seen.unused, policy.partial_days, now) if blobs else ():
            self._do("blob", each.key, "", "used by no model", self._reclaimer.blob)

    def versions(self, choices: Iterable[Choice], until: int = -1) -> None:
        """Remove versions, until the cache has no more than a number of bytes."""
        for choice in choices:
            if self.result.size_after <= until:
                return
            each = choice.version

            def remove(name: str, label: str = each.label) -> Reclaimed:
                return self._reclaimer.version(name, label)

            self._do("version", each.name, each.label, choice.reason, remove)

    def _do(
        self, kind: Kind, name: str, version: str, reason: str, remove: Callable[[str], Reclaimed]
    ) -> None:
        try:
            done, why = remove(name), ""
        except BusyError as error:
            done, why = self._reclaimer.take(), f"in use by {error}"
        except StoreError as error:
            done, why = self._reclaimer.take(), error.message
        if done.paths:
            self.result.actions.append(Action(kind, name, version, reason, done.paths, done.freed))
        if why or not done.paths:
            # A partial or an entry stays without an error if another process writes it; else there is
            # nothing that may go: a model uses the blob by now, or the files were not made by this program.
            quiet = "nothing to remove" if kind in ("blob", "version") else "in use by another process"
            self.result.skipped.append(Skipped(kind, name, version, why or quiet))
        for digest in done.skipped:
            self.result.skipped.append(Skipped("blob", digest, "", "in use by another process"))


def _versions(workspace: Workspace, held: Iterable[HeldVersion]) -> Iterator[Version]:
    uses = LastUses(workspace.store)
    for each in held:
        receipt = each.receipt
        if receipt is None:
            yield Version(
                each.name,
                each.label,
                is_complete=False,
                is_pinned=False,
                fetched=each.changed,
                used=each.changed,
            )
            continue
        yield Version(
            each.name,
            each.label,
            is_complete=True,
            is_pinned=_pinned(workspace, each.name) == receipt.identity,
            fetched=_seconds(max((file.stamp.mtime_ns for file in receipt.files), default=0)),
            used=uses.of_receipt(receipt).timestamp(),
        )


def _seconds(nanoseconds: int) -> float:
    """Convert a time of a receipt, which another user may have written: JSON has integers of any size."""
    return max(-_LATEST_NS, min(nanoseconds, _LATEST_NS)) / 1e9


def _pinned(workspace: Workspace, name: str) -> str:
    """Identity of the manifest that the catalogs have for a name; empty without one that can be read."""
    try:
        return workspace.catalog.get(name).identity
    except ModelfetchError:
        return ""
