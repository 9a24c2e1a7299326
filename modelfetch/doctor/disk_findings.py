"""Decides what the facts of the cache's disk mean. Pure.

A disk on which nothing can be written is a failure. A missing ability, such as hard links, is a warning: the
cache works without it, but takes more space or time. What a read-only cache has can still be used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from modelfetch.doctor.findings import DISK, Finding, State
from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.units import format_size

LOW_SPACE: Final = 1_000_000_000
"""Free bytes below which most models do not fit."""
SLOW_SYNC: Final = 0.5
"""Seconds for a sync of 1 MB from which models with many files take minutes longer."""


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """What a test of the cache's disk found. None means that it was not found out."""

    root: str
    """The root of the cache, safe to display."""
    file_system: str = ""
    """Its type, such as ``ext4``; empty where the system does not state it."""
    is_local: bool | None = None
    """Whether it is known that only this machine uses it."""
    free: int | None = None
    """Bytes that can still be written."""
    needed: int = 0
    """Bytes of the named models that are not present."""
    error: StoreError | None = None
    """Why a file could not be written; nothing else was tested then."""
    sync_seconds: float | None = None
    """Time of the sync of 1 MB."""
    can_sync: bool | None = None
    has_links: bool | None = None
    """Whether it has hard links."""
    has_reflinks: bool | None = None
    """Whether two files can share their extents."""
    has_locks: bool | None = None
    """Whether a file can be locked."""
    locks_exclude: bool | None = None
    """Whether a second lock on a locked file is refused."""
    is_case_sensitive: bool | None = None
    doubt: str = ""
    """Why the directory cannot be trusted, or empty."""
    is_late: bool = False
    """Whether the test did not end in time."""


def disk_findings(facts: DiskFacts) -> list[Finding]:
    """Return a finding for each ability of the disk."""
    return [
        Finding(DISK, check, *decision)
        for check, decision in (
            ("file system", _file_system(facts)),
            ("free space", _free(facts)),
            ("permissions", _permissions(facts)),
            ("write", _write(facts)),
            *_abilities(facts),
        )
    ]


_Decision = tuple[State, str, str]
"""State, message, hint."""
_ELSEWHERE: Final = "put the cache on another disk (--cache-dir)"


def _file_system(facts: DiskFacts) -> _Decision:
    where = f"{facts.file_system or 'unknown type'} at {facts.root}"
    if facts.is_late:
        hint = f"The disk, or the server of a network file system, does not answer: {_ELSEWHERE}."
        return State.FAILURE, f"{where}: no answer in time", hint
    if facts.is_local is False:
        hint = f"If several machines share it, the locks of one may not hold on another: {_ELSEWHERE}."
        return State.WARNING, f"{where}, perhaps a network file system", hint
    return State.OK, where, ""


def _free(facts: DiskFacts) -> _Decision:
    if facts.free is None:
        return State.SKIPPED, "not stated by the file system", ""
    free = f"{format_size(facts.free)} free"
    if facts.free < facts.needed:
        hint = f"Free some space, or {_ELSEWHERE}."
        return State.FAILURE, f"{free}, {format_size(facts.needed)} needed", hint
    if facts.free < LOW_SPACE:
        return State.WARNING, free, f"Few models fit: free some space, or {_ELSEWHERE}."
    return State.OK, free, ""


def _permissions(facts: DiskFacts) -> _Decision:
    if not facts.doubt:
        return State.OK, "no other user can replace files", ""
    hint = "If you do not share this cache on purpose: `chmod go-w` the directory, or use another one."
    return State.WARNING, facts.doubt, hint


def _write(facts: DiskFacts) -> _Decision:
    if facts.error is not None:
        hint = f"{facts.error.hint} What is in the cache can be used without writing."
        return State.FAILURE, facts.error.message, hint.strip()
    if facts.sync_seconds is None:
        return State.NOT_REACHED, "not reached", ""
    if facts.can_sync is False:
        hint = (
            f"A power cut may damage new files; `modelfetch verify` finds them. To avoid that, {_ELSEWHERE}."
        )
        return State.WARNING, "works, but the file system cannot sync", hint
    took = f"1 MB synced in {1000 * facts.sync_seconds:.0f} ms"
    if facts.sync_seconds >= SLOW_SYNC:
        return State.WARNING, took, f"Models with many files take long here: {_ELSEWHERE}."
    return State.OK, took, ""


def _abilities(facts: DiskFacts) -> Iterator[tuple[str, _Decision]]:
    yield "hard links", _links(facts)
    instead = "; hard links are used instead" if facts.has_links else ""
    yield "reflinks", _known(facts.has_reflinks, ("work", f"do not work{instead}"))
    yield "locks", _locks(facts)
    yield "case", _case(facts)


def _links(facts: DiskFacts) -> _Decision:
    if facts.has_links is not False:
        return _known(facts.has_links, ("work", ""))
    if facts.has_reflinks:
        return State.OK, "do not work; reflinks are used instead", ""
    return State.WARNING, "do not work", f"Each model takes its space twice: {_ELSEWHERE}."


def _locks(facts: DiskFacts) -> _Decision:
    hint = f"Two processes may fetch the same file twice, without harm. To avoid that, {_ELSEWHERE}."
    if facts.has_locks is False:
        return State.WARNING, "do not work", hint
    if facts.locks_exclude is False:
        return State.WARNING, "are granted, but do not exclude other processes", hint
    return _known(facts.locks_exclude, ("work", ""))


def _case(facts: DiskFacts) -> _Decision:
    if facts.is_case_sensitive is not False:
        return _known(facts.is_case_sensitive, ("upper and lower case are distinct", ""))
    hint = f"A model with two file names that differ only by case cannot be stored: {_ELSEWHERE}."
    return State.WARNING, "names that differ only by case are the same file", hint


def _known(value: bool | None, words: tuple[str, str]) -> _Decision:
    """An ability whose absence is no problem, or that was not found out."""
    if value is None:
        return State.NOT_REACHED, "not reached", ""
    return State.OK, words[0] if value else words[1], ""
