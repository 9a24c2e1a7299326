"""The tables of the history, and the conversion of rows to SQL values and back.

A row is a dataclass of :mod:`modelfetch.history.rows`. Times are stored as text
(``2026-11-20T06:00:01.100Z``), lists and objects as JSON. The file may come from elsewhere, so :func:`decode`
checks the type and range of every value against the annotation of its field.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from operator import attrgetter
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from modelfetch.history.rows import (
    AttemptRow,
    CheckRow,
    CidRow,
    DigestRow,
    EventRow,
    FileRow,
    JobEventRow,
    JobRow,
    Row,
    RunRow,
)
from modelfetch.model.units import parse_time

if TYPE_CHECKING:
    from sqlite3 import Connection

R = TypeVar("R")
SqlValue = str | int | float | None

VERSION: Final = 2
"""``PRAGMA user_version`` of the tables below. A file with a higher version is not used; the first write to a
file with a lower one adds the tables that it lacks."""

MOST_DIGESTS: Final = 50_000
"""Most digests of files outside of the cache that are kept, the newest ones; about 10 MB."""
MAX_ROWS: Final = 500_000
"""Most rows that are read, and that are kept of runs and what belongs to them: a month with one fetched file
every five seconds has about as many. Clients of a server that fetches for them cause a run with each file,
also with one that fails again and again, so days alone do not bound the table."""
MAX_DEPTH: Final = 16
"""Most levels of a JSON document; ours have four. Python's own limit depends on the depth of the stack."""
NUMBER_LIMIT: Final = 2**63
"""Upper bound of every number: SQLite integers have 64 bits, and larger numbers overflow when formatted."""

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
"""Made once: ``json.dumps`` makes one for each call with options."""
_AS_THEY_ARE: Final = frozenset({int, float, type(None)})
"""Types of values that SQLite stores as they are."""

TABLES: Final[dict[type[Any], str]] = {
    RunRow: "runs",
    FileRow: "files",
    AttemptRow: "attempts",
    CidRow: "cids",
    EventRow: "events",
    JobRow: "jobs",
    JobEventRow: "job_events",
    CheckRow: "checks",
    DigestRow: "digests",
}

_CREATE: Final = """
CREATE TABLE runs (
    run TEXT PRIMARY KEY, operation TEXT NOT NULL, models TEXT NOT NULL, started_at TEXT NOT NULL,
    finished_at TEXT, outcome TEXT NOT NULL, exit_code INTEGER, fetched INTEGER NOT NULL, error TEXT NOT NULL,
    seconds REAL NOT NULL, failures INTEGER NOT NULL
){strict};
CREATE TABLE files (
    run TEXT NOT NULL, model TEXT NOT NULL, file TEXT NOT NULL, status TEXT NOT NULL, source TEXT NOT NULL,
    size INTEGER NOT NULL, fetched INTEGER NOT NULL, seconds REAL NOT NULL, reason TEXT NOT NULL,
    at TEXT NOT NULL, PRIMARY KEY (run, model, file)
){strict};
CREATE TABLE attempts (
    run TEXT NOT NULL, model TEXT NOT NULL, file TEXT NOT NULL, source TEXT NOT NULL, host TEXT NOT NULL,
    attempt INTEGER NOT NULL, started_at TEXT NOT NULL, first_byte REAL, seconds REAL NOT NULL,
    resumed INTEGER NOT NULL, received INTEGER NOT NULL, size INTEGER NOT NULL, outcome TEXT NOT NULL,
    fault TEXT NOT NULL, message TEXT NOT NULL, kind TEXT NOT NULL
){strict};
CREATE TABLE cids (
    cid TEXT PRIMARY KEY, sha256 TEXT NOT NULL, model TEXT NOT NULL, file TEXT NOT NULL,
    seen_at TEXT NOT NULL, successes INTEGER NOT NULL, failures INTEGER NOT NULL
){strict};
CREATE TABLE events (
    run TEXT NOT NULL, n INTEGER NOT NULL, event TEXT NOT NULL, PRIMARY KEY (run, n)
){strict};
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, operation TEXT NOT NULL, model TEXT NOT NULL, status TEXT NOT NULL,
    created_at TEXT NOT NULL, started_at TEXT, finished_at TEXT, retry_of TEXT NOT NULL, error TEXT,
    snapshot TEXT NOT NULL
){strict};
CREATE TABLE job_events (
    job TEXT NOT NULL, n INTEGER NOT NULL, event TEXT NOT NULL, PRIMARY KEY (job, n)
){strict};
CREATE INDEX runs_started ON runs (started_at);
CREATE INDEX attempts_started ON attempts (started_at);
CREATE INDEX attempts_run ON attempts (run)
"""
"""The tables of version 1."""

_CREATE_CHECKS: Final = """
CREATE TABLE checks (
    ref TEXT NOT NULL, identity TEXT NOT NULL, checked_at TEXT, moved INTEGER NOT NULL,
    revision TEXT NOT NULL, failed_at TEXT, error TEXT NOT NULL, PRIMARY KEY (ref, identity)
){strict}
"""

_CREATE_DIGESTS: Final = """
CREATE TABLE digests (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    sha256 TEXT NOT NULL, seen_at TEXT NOT NULL
){strict}
"""

_ADDED: Final[dict[int, tuple[str, ...]]] = {1: (_CREATE,), 2: (_CREATE_CHECKS, _CREATE_DIGESTS)}
"""What each version added. A table is never changed: a change would be a table with a new name."""

_ADD_CIDS: Final = """ ON CONFLICT (cid) DO UPDATE SET sha256 = excluded.sha256, model = excluded.model,
    file = excluded.file, seen_at = excluded.seen_at, successes = successes + excluded.successes,
    failures = failures + excluded.failures"""
"""Adds to the counts of a CID instead of replacing them."""

_MERGE_CHECKS: Final = """ ON CONFLICT (ref, identity) DO UPDATE SET
    moved = CASE WHEN excluded.checked_at IS NULL THEN moved ELSE excluded.moved END,
    revision = CASE WHEN excluded.checked_at IS NULL THEN revision ELSE excluded.revision END,
    checked_at = coalesce(excluded.checked_at, checked_at),
    failed_at = excluded.failed_at, error = excluded.error"""
"""A failed check keeps what the last successful one found; a successful one ends the failure."""

_ON_CONFLICT: Final[dict[type[Any], str]] = {CidRow: _ADD_CIDS, CheckRow: _MERGE_CHECKS}

_PRUNE: Final = (
    "DELETE FROM events WHERE run IN (SELECT run FROM runs WHERE started_at < :before)",
    "DELETE FROM files WHERE at < :before",
    "DELETE FROM attempts WHERE started_at < :before",
    "DELETE FROM cids WHERE seen_at < :before",
    "DELETE FROM runs WHERE started_at < :before",
)
_NEWEST: Final = "DELETE FROM {table} WHERE rowid <= (SELECT max(rowid) FROM {table}) - :most"
"""Keeps the rows that were written last; by number, as counting them takes long."""

CHECK_DAYS: Final = 3650
"""Days to keep a check. Without its row a check counts as due, as one of this age does with any sensible
``cache.max_age_days``; so this only bounds the file."""
_PRUNE_CHECKS: Final = "DELETE FROM checks WHERE coalesce(failed_at, checked_at) < :before"

_STRICT: Final = " STRICT"
"""Enforces column types; SQLite has it since 3.37 (https://www.sqlite.org/stricttables.html)."""


def create(connection: Connection, version: int = 0) -> None:
    """Create the tables, strict ones if this SQLite supports them.

    Args:
        connection: In a transaction.
        version: The version of the tables that exist already; 0 if there are none.
    """
    import sqlite3

    strict = _STRICT if sqlite3.sqlite_version_info >= (3, 37) else ""
    for statement in _statements(strict, version, VERSION):
        connection.execute(statement)  # executescript() would commit the transaction
    connection.execute(f"PRAGMA user_version = {VERSION}")


@cache
def _statements(strict: str, after: int, version: int) -> list[str]:
    """Return the statements that lead from one version of the tables to a later one."""
    added = [text for number in range(after + 1, version + 1) for text in _ADDED[number]]
    parts = [part for text in added for part in text.format(strict=strict).split(";")]
    return [_on_one_line(part) for part in parts]


def _on_one_line(statement: str) -> str:
    """Return a statement on one line, so that statements compare equal whatever their line breaks."""
    return " ".join(statement.split())


def is_expected_schema(version: int, entries: Sequence[tuple[str, str, str, str | None]]) -> bool:
    """Return whether a schema is exactly the one of a version, each table strict or not.

    Tables may differ in that: an older SQLite may have created the first ones.

    Args:
        version: ``PRAGMA user_version``.
        entries: Type, name, table and statement of each entry of ``sqlite_master``. The index that SQLite
            creates for a primary key has no statement.
    """
    found = sorted(
        _on_one_line(sql).removesuffix(_STRICT) for _, _, _, sql in entries if isinstance(sql, str)
    )
    others = [kind for kind, _, _, sql in entries if not isinstance(sql, str)]
    return set(others) <= {"index"} and version in _ADDED and found == sorted(_statements("", 0, version))


def has_table(connection: Connection, kind: type[Any]) -> bool:
    """Return whether the file has the table of a kind of rows; one of an earlier version may not."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(query, (TABLES[kind],)).fetchone() is not None


def insert(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert rows of any kind; a row replaces an earlier one with the same key."""
    by_kind: dict[type[Any], list[tuple[SqlValue, ...]]] = {kind: [] for kind in TABLES}
    for row in rows:
        by_kind[type(row)].append(encode(row))
    for kind, values in by_kind.items():
        if values:
            connection.executemany(_insertion(kind), values)


def _insertion(kind: type[Any]) -> str:
    places = ", ".join("?" * len(kind.__match_args__))
    end = _ON_CONFLICT.get(kind, "")
    replace = "" if end else " OR REPLACE"
    return f"INSERT{replace} INTO {TABLES[kind]} VALUES ({places}){end}"


def prune(connection: Connection, before: datetime) -> None:
    """Delete runs before a time and all that belongs to them, and what is more than the limits allow."""
    for statement in _PRUNE:
        connection.execute(statement, {"before": stamp(before)})
    oldest = datetime.now(UTC) - timedelta(days=CHECK_DAYS)
    connection.execute(_PRUNE_CHECKS, {"before": stamp(oldest)})
    for table in ("events", "files", "attempts", "cids", "runs"):
        connection.execute(_NEWEST.format(table=table), {"most": MAX_ROWS})
    connection.execute(_NEWEST.format(table="digests"), {"most": MOST_DIGESTS})


def stamp(at: datetime) -> str:
    """Format a time so that texts sort like times: UTC, milliseconds, ``Z``."""
    at = at if at.tzinfo is UTC else at.astimezone(UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def select(
    kind: type[Any], where: Mapping[str, Any], order: str, limit: int | None = None
) -> tuple[str, list[SqlValue]]:
    """Return a query for whole rows: the statement and its values.

    Args:
        kind: The kind of rows.
        where: Conditions with one ``?`` each, and their values; a condition with the value None is omitted.
        order: The sort order, in SQL.
        limit: Most rows to return.
    """
    given = {condition: value for condition, value in where.items() if value is not None}
    conditions = f" WHERE {' AND '.join(given)}" if given else ""
    most = MAX_ROWS if limit is None else min(limit, MAX_ROWS)
    statement = f"SELECT * FROM {TABLES[kind]}{conditions} ORDER BY {order} LIMIT {most:d}"  # noqa: S608 - no text of a user
    return statement, [_sql_value(value) for value in given.values()]


def encode(row: Row) -> tuple[SqlValue, ...]:
    """Convert a row to SQL values."""
    return tuple([_sql_value(value) for value in _getter(cast("Any", type(row)))(row)])


@cache
def _getter(kind: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*kind.__match_args__)


def _sql_value(value: Any) -> SqlValue:
    kind = type(value)
    if kind in _AS_THEY_ARE or (kind is str and value.isascii()):  # nearly all, so before the slower match
        return cast("SqlValue", value)
    match value:
        case str():  # paths and messages may hold lone surrogates, which UTF-8 cannot encode
            return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
        case datetime():
            return stamp(value)
        case bool():
            return int(value)
        case tuple() | dict():
            return _ENCODER.encode(value)
        case _:
            return cast("SqlValue", value)


def decode(kind: type[R], values: Sequence[Any]) -> R:
    """Convert SQL values to a row.

    Raises:
        ValueError: A value does not fit the type of its field.
    """
    try:
        readers = _readers(cast("Any", kind))
        row = kind(*(reader(value) for reader, value in zip(readers, values, strict=True)))
        if isinstance(row, EventRow | JobEventRow):
            _check_event(row.event)
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a row of {TABLES[kind]}") from error
    return row


@cache
def _readers(kind: type[Any]) -> list[Callable[[Any], Any]]:
    return [_reader(hint) for hint in get_type_hints(kind).values()]


def _reader(hint: Any) -> Callable[[Any], Any]:
    """Return the function that checks and converts a column by the annotation of its field."""
    if get_origin(hint) is UnionType:  # or None
        reader = _reader(get_args(hint)[0])
        return lambda value: None if value is None else reader(value)
    if get_origin(hint) is Literal:
        return partial(_one_of, get_args(hint))
    readers: dict[Any, Callable[[Any], Any]] = {
        str: _text,
        int: partial(_number, int),
        float: partial(_number, float),
        bool: lambda value: bool(_one_of((0, 1), value)),
        datetime: parse_time,
        tuple[str, ...]: lambda text: tuple(map(_text, _json(text, list))),
        dict[str, Any]: lambda text: _json(text, dict),
    }
    return readers[hint]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(kind: type[int] | type[float], value: Any) -> Any:
    if not isinstance(value, int | kind) or not 0 <= value < NUMBER_LIMIT:  # false for infinity and NaN
        raise TypeError
    return kind(value)


def _one_of(choices: tuple[Any, ...], value: Any) -> Any:
    if value not in choices:
        raise TypeError
    return value


def _check_event(event: Mapping[str, Any]) -> None:
    """Check what ``modelfetch log`` needs: an event with narration has text and a time."""
    if event.get("human"):
        _text(event["human"])
        parse_time(event.get("at", ""))


def _json(text: Any, kind: type) -> Any:
    document = json.loads(_text(text), parse_constant=_reject_constant, parse_float=_finite)
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [item for each in level for item in _inside(each)]
        if not level:
            break
    if level or not isinstance(document, kind):
        raise TypeError
    return document


def _inside(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not a number that JSON has")
    return number


def _reject_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")
