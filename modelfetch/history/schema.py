"""The tables, and how rows get into and out of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, get_type_hints

from modelfetch.history.rows import AttemptRow, CidRow, EventRow, FileRow, JobEventRow, JobRow, Row, RunRow

if TYPE_CHECKING:
    from sqlite3 import Connection

R = TypeVar("R")
Plain = str | int | float | None

VERSION: Final = 1
"""``PRAGMA user_version`` of the tables below. A file with a higher one is left alone."""

TABLES: Final[dict[type[Any], str]] = {
    RunRow: "runs",
    FileRow: "files",
    AttemptRow: "attempts",
    CidRow: "cids",
    EventRow: "events",
    JobRow: "jobs",
    JobEventRow: "job_events",
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

_ADD_CIDS: Final = """ ON CONFLICT (cid) DO UPDATE SET sha256 = excluded.sha256, model = excluded.model,
    file = excluded.file, seen_at = excluded.seen_at, successes = successes + excluded.successes,
    failures = failures + excluded.failures"""
"""What was counted for a CID before is added to, not replaced."""

_PRUNE: Final = (
    "DELETE FROM events WHERE run IN (SELECT run FROM runs WHERE started_at < :before)",
    "DELETE FROM files WHERE at < :before",
    "DELETE FROM attempts WHERE started_at < :before",
    "DELETE FROM cids WHERE seen_at < :before",
    "DELETE FROM runs WHERE started_at < :before",
)


def create(connection: Connection) -> None:
    """Make the tables; strict ones (typed columns) where SQLite has them, from 3.37 on."""
    import sqlite3

    strict = " STRICT" if sqlite3.sqlite_version_info >= (3, 37) else ""
    for statement in _CREATE.format(strict=strict).split(";"):
        connection.execute(statement)  # not executescript(), which would end the transaction
    connection.execute(f"PRAGMA user_version = {VERSION}")


def insert(connection: Connection, rows: Sequence[Row]) -> None:
    """Write rows of any kind; one with the key of an earlier one replaces it."""
    for kind in TABLES:
        values = [encode(row) for row in rows if isinstance(row, kind)]
        if values:
            connection.executemany(_insertion(kind), values)


def _insertion(kind: type[Any]) -> str:
    places = ", ".join("?" * len(fields(kind)))
    replace, end = ("", _ADD_CIDS) if kind is CidRow else (" OR REPLACE", "")
    return f"INSERT{replace} INTO {TABLES[kind]} VALUES ({places}){end}"


def prune(connection: Connection, before: datetime) -> None:
    """Forget runs and what belongs to them; jobs have limits of their own."""
    for statement in _PRUNE:
        connection.execute(statement, {"before": stamp(before)})


def stamp(at: datetime) -> str:
    """Write a time so that texts sort as times do: UTC, milliseconds, ``Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def select(
    kind: type[Any], where: Mapping[str, Any], order: str, limit: int | None = None
) -> tuple[str, list[Plain]]:
    """Put a query for whole rows together: the statement, and the values for it.

    Args:
        kind: The rows.
        where: Conditions with one ``?``, and the value for it; a condition whose value is None is left out.
        order: What to sort by.
        limit: The most rows to give.
    """
    asked = {condition: value for condition, value in where.items() if value is not None}
    conditions = f" WHERE {' AND '.join(asked)}" if asked else ""
    most = "" if limit is None else f" LIMIT {limit:d}"
    statement = f"SELECT * FROM {TABLES[kind]}{conditions} ORDER BY {order}{most}"  # noqa: S608 - our own words
    return statement, [_plain(value) for value in asked.values()]


def encode(row: Row) -> tuple[Plain, ...]:
    """Give a row the form of the database."""
    return tuple([_plain(getattr(row, name)) for name in _names(cast("Any", type(row)))])


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _plain(value: Any) -> Plain:
    match value:
        case str():  # paths and messages may hold lone surrogates, which UTF-8 has no form for
            return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
        case datetime():
            return stamp(value)
        case tuple() | dict():
            return json.dumps(value, separators=(",", ":"))
        case _:
            return cast("Plain", value)


def decode(kind: type[R], values: Sequence[Any]) -> R:
    """Make a row of what the database gave.

    Raises:
        ValueError: It holds something that no row of this kind holds.
    """
    try:
        readers = _readers(cast("Any", kind))
        return kind(*(reader(value) for reader, value in zip(readers, values, strict=True)))
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not a row of {TABLES[kind]}") from error


@cache
def _readers(kind: type[Any]) -> list[Callable[[Any], Any]]:
    return [_reader(hint) for hint in get_type_hints(kind).values()]


def _reader(hint: Any) -> Callable[[Any], Any]:
    if hint in (datetime, datetime | None):
        return lambda text: None if text is None else datetime.fromisoformat(text)
    if hint == tuple[str, ...]:
        return lambda text: tuple(map(str, json.loads(text)))
    if hint in (dict[str, Any], dict[str, Any] | None):
        return lambda text: None if text is None else dict(json.loads(text))
    return lambda value: value
