"""Derive the rows of the history from the records of a run, and write them in batches.

Rows are written about once a second, so a killed process loses at most the last second. The number of events
per run is limited, since a run of many files could otherwise fill the database. The exact sizes and times
come from commits; attempts come from :mod:`modelfetch.reporters.attempts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from modelfetch.engine.events import (
    FileCommitted,
    FileResult,
    FileVerified,
    RunFinished,
    SourceFailed,
)
from modelfetch.engine.parts import label_of
from modelfetch.engine.record import Record, to_json
from modelfetch.history import AttemptRow, CidRow, EventRow, FileRow, History, RunRow
from modelfetch.lazy_dataclass import dataclass, field, replace
from modelfetch.model.source_kinds import CACHE, SourceKind
from modelfetch.reporters.attempts import Attempts
from modelfetch.reporters.narration import narrate

if TYPE_CHECKING:
    from modelfetch.engine.state import FileId
    from modelfetch.engine.totals import Totals
    from modelfetch.model.manifest import Manifest

BATCH_SECONDS: Final = 1.0
"""Seconds between two batches during a run; a killed process loses no more than this."""
BATCH_WAIT: Final = 0.05
"""Seconds a batch during a run waits for a locked database; what it could not write is written at the end."""
EVENTS: Final = 1000
"""Most events kept of one run; the last event is always kept."""
QUARTER: Final = 25
"""Percent between two progress events that are kept."""
STALL: Final = 10.0
"""Seconds between two progress events that are kept while no data comes, as between two log lines."""


@dataclass(frozen=True, slots=True)
class _Model:
    """Facts about a model from its manifest that no event has."""

    kind: str = "model"
    version: str = ""
    addresses: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By path of the file: its CID (or path below the CID of the model), and its SHA-256."""

    @classmethod
    def of(cls, manifest: Manifest | None) -> _Model:
        if manifest is None:
            return cls()
        cids = {
            file.path: (file.cid or f"{manifest.ipfs_cid}/{file.path}", file.sha256)
            for file in manifest.files
            if file.cid or manifest.ipfs_cid
        }
        return cls(manifest.kind, manifest.version, cids)


@dataclass(slots=True)
class _Batch:
    """Rows for the next write."""

    attempts: list[AttemptRow] = field(default_factory=list)
    files: list[FileRow] = field(default_factory=list)
    events: list[Record] = field(default_factory=list)
    cids: list[CidRow] = field(default_factory=list)


class HistoryRows:
    """Writes the rows of one run: the run itself, its files, attempts, CIDs and events.

    Args:
        history: The database; it is closed with this object.
        find: Finds a manifest by the name of its model; called once for each model with an attempt.
    """

    def __init__(self, history: History, find: Callable[[str], Manifest | None]) -> None:
        self._history = history
        self._model = cache(lambda name: _Model.of(find(name)))
        self._attempts = Attempts()
        self._first: Record | None = None
        self._last: Record | None = None
        self._batch = _Batch()
        self._written_at = 0.0
        self._events = 0
        self._quarters = 0
        self._stalls = 0
        self._failures = 0
        self._fetched: Counter[FileId] = Counter()
        self._committed: set[FileId] = set()

    @property
    def notice(self) -> str:
        """One line for the user about a history that cannot be used, or empty."""
        return self._history.notice

    def report(self, record: Record) -> None:
        """Read one record; write a batch after a file if one is due, and at the end of the run."""
        event = record.event
        if self._first is None:
            self._first, self._written_at = record, record.state.now
        self._last = record
        self._count(self._attempts.add(record))
        self._keep(record)
        if isinstance(event, FileCommitted | FileVerified) and event.cid:
            self._batch.cids.append(
                CidRow(event.cid, event.sha256, event.model, event.file, record.at, successes=0, failures=0)
            )
        if isinstance(event, FileCommitted):
            self._commit(record, event)
        if isinstance(event, RunFinished):
            self._finish(record, event)
        elif isinstance(event, FileCommitted | SourceFailed):
            self._write_batch(record)

    def close(self) -> None:
        """Close the history; a run without an end is written as cancelled first."""
        last = self._last
        if last is not None and not isinstance(last.event, RunFinished):
            self._count(self._attempts.abandon(last))
            self._history.hurry()
            self._write(last, replace(self._run(last), outcome="cancelled", finished_at=last.at))
        self._history.close()

    def _count(self, attempts: Iterator[AttemptRow]) -> None:
        for attempt in attempts:
            self._batch.attempts.append(attempt)
            self._failures += attempt.outcome == "error" and bool(attempt.source)
            if attempt.source != SourceKind.LOCAL:
                self._fetched[attempt.model, attempt.file] += attempt.received

    def _keep(self, record: Record) -> None:
        """Keep an event for the log, up to the limits."""
        is_last = isinstance(record.event, RunFinished)
        if record.figures is not None and not self._is_mark(record.figures.totals):
            return
        if self._events < EVENTS - 1 or is_last:  # one place is kept for the end of the run
            self._events += 1
            self._batch.events.append(record)

    def _is_mark(self, totals: Totals) -> bool:
        """Whether another quarter of the run is done, or a stall began or lasts another 10 seconds."""
        before = self._quarters, self._stalls
        self._quarters = max(self._quarters, int(totals.percent // QUARTER))
        self._stalls = 0 if totals.idle is None else 1 + int(totals.idle // STALL)
        return self._quarters > before[0] or self._stalls > before[1]

    def _commit(self, record: Record, event: FileCommitted) -> None:
        self._committed.add((event.model, event.file))
        # The commit has the exact number; the latest progress may be older.
        self._fetched[event.model, event.file] = event.fetched
        source = label_of(event.source, event.host)
        result = FileResult(event.model, event.file, "completed", "", source, event.size)
        self._batch.files.append(_file_row(record, result, event.fetched, event.seconds))

    def _finish(self, record: Record, event: RunFinished) -> None:
        """Write the end of the run, and the files that were not committed in it."""
        rest = [result for result in event.files if (result.model, result.file) not in self._committed]
        self._batch.files += [_file_row(record, result) for result in rest]
        run = replace(
            self._run(record),
            finished_at=record.at,
            outcome=event.outcome,
            exit_code=event.exit_code,
            error=event.error.message if event.error is not None else "",
        )
        if event.outcome == "cancelled":
            self._history.hurry()  # no more syncs: the user waits for the process to end
        self._write(record, run)

    def _run(self, record: Record) -> RunRow:
        """Row of the run in its present state, as running."""
        assert self._first is not None, "there is a record"
        return RunRow(
            run=record.run,
            operation=record.state.operation,
            models=tuple(record.state.models),
            started_at=self._first.at,
            finished_at=None,
            outcome="running",
            exit_code=None,
            fetched=self._fetched.total(),
            error="",
            seconds=record.state.seconds,
            failures=self._failures,
        )

    def _write_batch(self, record: Record) -> None:
        if record.state.now - self._written_at >= BATCH_SECONDS:
            self._written_at = record.state.now
            self._write(record, self._run(record), wait=BATCH_WAIT)

    def _write(self, record: Record, run: RunRow, wait: float | None = None) -> None:
        batch, self._batch = self._batch, _Batch()
        self._history.write(
            runs=[run],
            files=batch.files,
            attempts=[self._with_kind(attempt) for attempt in batch.attempts],
            cids=[
                *batch.cids,
                *(cid for attempt in batch.attempts for cid in self._cid(record, attempt)),
            ],
            events=[self._event_row(each) for each in batch.events],
            wait=wait,
        )

    def _with_kind(self, attempt: AttemptRow) -> AttemptRow:
        kind = self._model(attempt.model).kind
        return attempt if attempt.kind == kind else replace(attempt, kind=kind)

    def _event_row(self, record: Record) -> EventRow:
        words = narrate(record, lambda model: self._model(model).kind)
        return EventRow(record.run, record.n, {**to_json(record), "human": words})

    def _cid(self, record: Record, attempt: AttemptRow) -> Iterator[CidRow]:
        """Row of the result of an attempt for the CID of its file, if the catalog still has this version."""
        model, plan = self._model(attempt.model), record.state.models[attempt.model].plan
        address = model.addresses.get(attempt.file)
        if attempt.source != CACHE and address and plan and plan.version == model.version:
            outcome = attempt.outcome if attempt.source == SourceKind.IPFS else ""
            counts = int(outcome == "success"), int(outcome == "error")
            yield CidRow(*address, attempt.model, attempt.file, record.at, *counts)


def _file_row(record: Record, result: FileResult, fetched: int = 0, seconds: float = 0.0) -> FileRow:
    return FileRow(
        run=record.run,
        model=result.model,
        file=result.file,
        status=result.status,
        source=result.source,
        size=result.size,
        fetched=fetched,
        seconds=seconds,
        reason=result.reason,
        at=record.at,
    )
