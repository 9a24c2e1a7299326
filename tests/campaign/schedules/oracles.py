"""What must hold whatever happened: each oracle gives the violations it sees, a line each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelfetch.engine.events import FileCommitted, FileQuarantined, FileStarted, Progress, SourceFailed
from modelfetch.model.manifest import FileSpec
from modelfetch.store.journal_format import parse
from modelfetch.store.temporary import TEMPORARY
from tests.campaign.schedules.running import STALL_SECONDS, Outcome
from tests.campaign.schedules.schedule import NAME, Schedule

KINDS = (
    "wrong bytes",
    "hang",
    "traceback",
    "exit code",
    "given up",
    "blamed",
    "leftovers",
    "fetched again",
    "lost bytes",
    "threads",
    "not kept",
    "campaign",
)
"""Every kind of violation, each to be 0."""

EXPECTED_FAILURES = frozenset({5, 6, 9})
"""Exit codes of a run that nobody honest serves."""
DISHONEST = frozenset({"hash", "size", "protocol", "redirect", "cut", "not_found", "authorisation"})
"""Faults that a clean place never has: what depends on time may be the machine's."""
WASTE = 0.1
"""Share of a file that may come twice because its parts are given away."""
BLOCK = 4096
"""Bytes that are compared at once."""
SLACK = 1 << 20
"""Bytes that may be on their way besides when a part is given away, or an answer ends."""


@dataclass(frozen=True)
class Violation:
    """Something that must not be."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


@dataclass
class Watcher:
    """Hashes whatever has a final name, as soon as it has it."""

    root: Path
    schedule: Schedule
    wrong: list[Violation] = field(default_factory=list)
    _seen: set[tuple[str, int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._names: dict[str, tuple[int, str]] = {}
        for path, content in self.schedule.contents.items():
            digest = content.sha256
            facts = content.size, digest
            self._names[str(self.root / "models" / NAME / "1" / path)] = facts
            self._names[str(self.root / "blobs" / "sha256" / digest[:2] / digest)] = facts

    def __call__(self) -> None:
        """Look at what is new."""
        for name in self._names:
            try:
                found = os.lstat(name)
            except OSError:
                continue
            key = name, found.st_ino, found.st_ctime_ns
            if key not in self._seen:
                self._seen.add(key)
                self._judge(name)

    def again(self) -> None:
        """Look at everything once more: an inode may have been written to after it got its name."""
        self._seen.clear()
        self()

    def missing(self) -> list[str]:
        """Names of files of the model that are not there."""
        return [name for name in self._names if "/models/" in name and not Path(name).is_file()]

    def _judge(self, name: str) -> None:
        size, digest = self._names[name]
        try:
            data = Path(name).read_bytes()
        except FileNotFoundError:
            return
        if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
            self.wrong.append(Violation("wrong bytes", f"{len(data)} bytes under {name}"))


def of_a_process(outcome: Outcome) -> Iterator[Violation]:
    """What holds for every process."""
    plan, end = outcome.plan, outcome.end
    if outcome.is_hung:
        yield Violation("hang", f"{plan}: {outcome.said}")
        return
    if outcome.said.strip():
        yield Violation("traceback", f"{plan}: {outcome.said.strip()}")
    if outcome.is_killed:
        if plan.ending != "kill":
            yield Violation("exit code", f"{plan}: ended by a signal")
        return
    if outcome.threads:
        yield Violation("threads", f"{plan}: {', '.join(outcome.threads)}")
    if end is None and plan.ending != "close" and not outcome.said.strip():
        yield Violation("exit code", f"{plan}: no end was told")
    cancelled = {130} if plan.ending in ("cancel", "close") else set()
    if end is not None and end.exit_code not in {0, *EXPECTED_FAILURES, *cancelled}:
        yield Violation("exit code", f"{plan}: {end.exit_code}, {end.error}")


def of_delivery(schedule: Schedule, outcome: Outcome) -> Iterator[Violation]:
    """Who is honest is asked for as long as he is needed, and never blamed for another one's bytes."""
    end = outcome.end
    if end is not None and end.exit_code in EXPECTED_FAILURES and schedule.is_deliverable:
        yield Violation("given up", f"{outcome.plan}: exit {end.exit_code}, {end.error}")


def of_blame(
    outcome: Outcome, clean: Iterable[tuple[str, str]], honest: Iterable[tuple[str, str]]
) -> Iterator[Violation]:
    """A clean place never fails; no honest one sends what is wrong.

    Args:
        outcome: Of a run.
        clean: Kind and host of the clean places that share them with no other.
        honest: The same of all honest ones.
    """
    for event in outcome.events:
        if not isinstance(event, SourceFailed):
            continue
        name = event.source, event.host
        is_wrong = name in clean and event.fault in DISHONEST
        if is_wrong or (name in honest and event.fault in ("hash", "size")):
            yield Violation("blamed", f"{outcome.plan}: {event}")


def of_economy(schedule: Schedule, outcome: Outcome) -> Iterator[Violation]:
    """Bytes come once, but for what is on its way when a part is given away or an answer ends."""
    if not schedule.is_free_of_lies or _is_unranged(schedule) or outcome.plan.is_paired:
        return
    if outcome.plan.split_policy.stall_seconds < STALL_SECONDS:
        return  # parts change hands as often as the machine hesitates: that is what such a plan is for
    held = {each.file: each.offset for each in outcome.events if isinstance(each, FileStarted)}
    again = {each.file for each in outcome.events if isinstance(each, FileQuarantined)}
    for event in outcome.events:
        if not isinstance(event, FileCommitted) or event.file in again:
            continue
        needed = event.size - held.get(event.file, 0)
        allowed = needed * (1 + max(WASTE, outcome.plan.split_policy.max_waste)) + min(SLACK, event.size // 2)
        if event.fetched > allowed:
            what = f"{event.fetched} bytes instead of {needed} for {event.file}"
            yield Violation("fetched again", f"{outcome.plan}: {what}")


def _is_unranged(schedule: Schedule) -> bool:
    """Whether some place sends whole files, so that what is there comes again."""
    words = ("range ignored", "Content-Range", "wrong", "HTTP/1.0", "416", "length")
    names = [trouble.fault.name for place in schedule.places for trouble in place.troubles]
    return any(word in name for name in names for word in words)


def of_keeping(schedule: Schedule, before: Outcome, after: Outcome) -> Iterator[Violation]:
    """What a cancelled run said it had, the next one has."""
    if not schedule.is_free_of_lies or before.is_killed or after.plan.is_forced or before.plan.is_paired:
        return
    told = {each.file: each.received for each in before.events if isinstance(each, Progress)}
    for event in after.events:
        if isinstance(event, FileStarted) and event.offset < told.get(event.file, 0):
            yield Violation(
                "lost bytes", f"{event.file}: {event.offset} of {told[event.file]} after {before.plan}"
            )


def unclaimed(root: Path, schedule: Schedule) -> dict[str, str]:
    """Files of which more bytes are there than their journals claim, each with how many."""
    found: dict[str, str] = {}
    for path, content in schedule.contents.items():
        file = FileSpec(path, content.size, content.sha256)
        for data in (root / "partial" / content.sha256).glob("data*"):
            journal = data.with_name(data.name.replace("data", "journal", 1))
            claimed = parse(journal.read_bytes() if journal.exists() else b"", file).claimed
            there = _right_bytes(data.read_bytes(), content.data)
            if there > claimed:
                found[path] = f"{there} bytes are there and {claimed} claimed"
    return found


def of_claims(
    schedule: Schedule, outcome: Outcome, found: Mapping[str, str], before: Collection[str]
) -> Iterator[Violation]:
    """What a stopped run has written, its journals claim: else the next run fetches it again.

    Args:
        schedule: The schedule.
        outcome: Of the run.
        found: The files with unclaimed bytes after the run.
        before: The same before it. A killed run leaves some, and they stay if the next run ends before it
            opens the file.
    """
    if not schedule.is_free_of_lies or _is_unranged(schedule) or outcome.is_killed or outcome.plan.is_paired:
        return  # bytes of an attempt that was started over may still lie there
    for path in sorted(found.keys() - set(before)):
        yield Violation("lost bytes", f"{path}: {found[path]} after {outcome.plan}")


def _right_bytes(found: bytes, content: bytes) -> int:
    """Bytes of whole blocks that are right; in random content no hole looks like one."""
    starts = range(0, len(content) - BLOCK + 1, BLOCK)
    return sum(BLOCK for at in starts if found[at : at + BLOCK] == content[at : at + BLOCK])


def of_leftovers(root: Path, *, is_complete: bool) -> Iterator[Violation]:
    """Nothing is left but what is of use to the next run.

    Args:
        root: Of the cache, where nobody is at work.
        is_complete: Whether every file is there, so that nothing is of use.
    """
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.name.startswith(TEMPORARY) or path.name.endswith(".holder"):
            yield Violation("leftovers", name)
        elif path.parent == root / "partial" and (is_complete or not _has_bytes(path)):
            inside = sorted(f"{each.name} {each.stat().st_size}" for each in path.iterdir())
            yield Violation("leftovers", f"{name}: {', '.join(inside) or 'empty'}")


def _has_bytes(partial: Path) -> bool:
    return any(each.name.startswith("data") and each.stat().st_blocks for each in partial.iterdir())
