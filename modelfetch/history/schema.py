"""The tables, and how rows get into and out of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache, partial
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from modelfetch.history.rows import AttemptRow, CidRow, EventRow, FileRow, JobEventRow, JobRow, Row, RunRow
from modelfetch.model.units import parse_time

if TYPE_CHECKING:
    from sqlite3 import Connection

R = TypeVar("R")
Plain = str | int | float | None

VERSION: Final = 1
"""``PRAGMA user_version`` of the tables below. A file with a higher one is left alone."""

MOST_ROWS: Final = 500_000
"""Rows that are read at most: those of a month in which a file was fetched every five seconds."""
DEPTH: Final = 16
"""Levels of a JSON document at most; ours have four. Python's own limit depends on where it is read."""
LARGEST: Final = 2**63
"""Every number is below this: more would only overflow where it is shown."""

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


_STRICT: Final = " STRICT"
"""Typed columns, which SQLite has from 3.37 on."""


def create(connection: Connection) -> None:
    """Make the tables; strict ones where SQLite has them."""
    import sqlite3

    strict = _STRICT if sqlite3.sqlite_version_info >= (3, 37) else ""
    for statement in _statements(strict):
        connection.execute(statement)  # not executescript(), which would end the transaction
    connection.execute(f"PRAGMA user_version = {VERSION}")


@cache
def _statements(strict: str) -> list[str]:
    return [_plainly(statement) for statement in _CREATE.format(strict=strict).split(";")]


def _plainly(statement: str) -> str:
    """A statement whose line breaks do not matter."""
    return " ".join(statement.split())


def is_ours(entries: Sequence[tuple[str, str, str, str | None]]) -> bool:
    """Whether a schema is exactly the one that :func:`create` makes, here or with an older SQLite.

    Args:
        entries: Type, name, table and statement of each, as ``sqlite_master`` has them. An index that SQLite
            makes for a key has no statement.
    """
    found = sorted(_plainly(sql) for _, _, _, sql in entries if isinstance(sql, str))
    others = [kind for kind, _, _, sql in entries if not isinstance(sql, str)]
    return set(others) <= {"index"} and found in (sorted(_statements(_STRICT)), sorted(_statements("")))


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
    most = MOST_ROWS if limit is None else min(limit, MOST_ROWS)
    statement = f"SELECT * FROM {TABLES[kind]}{conditions} ORDER BY {order} LIMIT {most:d}"  # noqa: S608 - our own words
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
    """What turns a column into a field; a file from elsewhere has any value in any column."""
    if get_origin(hint) is UnionType:  # or None
        reader = _reader(get_args(hint)[0])
        return lambda value: None if value is None else reader(value)
    if get_origin(hint) is Literal:
        return partial(_one_of, get_args(hint))
    readers: dict[Any, Callable[[Any], Any]] = {
        str: _text,
        int: partial(_number, int),
        float: partial(_number, float),
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
    if not isinstance(value, int | kind) or not 0 <= value < LARGEST:  # which what is not finite is not
        raise TypeError
    return kind(value)


def _one_of(choices: tuple[Any, ...], value: Any) -> Any:
    if value not in choices:
        raise TypeError
    return value


def _check_event(event: Mapping[str, Any]) -> None:
    """Words that are told have a time."""
    if event.get("human"):
        _text(event["human"])
        parse_time(event.get("at", ""))


def _json(text: Any, kind: type) -> Any:
    document = json.loads(_text(text), parse_constant=_refuse, parse_float=_finite)
    level = [document]
    for _ in range(DEPTH):
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


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")
