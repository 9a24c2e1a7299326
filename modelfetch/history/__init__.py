"""The history of earlier runs: runs, files, attempts, CIDs, events and jobs in one SQLite file.

The history is derived from the stream of events. No run depends on it: if the file is lost, damaged or
locked, models are still fetched. This is the only package that imports sqlite3. Metrics are sums over its
rows (:mod:`modelfetch.history.metrics`); the order in which hosts are tried follows from their health
(:mod:`modelfetch.history.health`).
"""

from modelfetch.history.health import Health, Miss, rank, status_of
from modelfetch.history.history import FILE, History
from modelfetch.history.rows import (
    EXHAUSTED,
    AttemptRow,
    CheckRow,
    CidRow,
    DigestRow,
    EventRow,
    FileRow,
    JobEventRow,
    JobRow,
    Outcome,
    RunRow,
)

__all__ = [
    "EXHAUSTED",
    "FILE",
    "AttemptRow",
    "CheckRow",
    "CidRow",
    "DigestRow",
    "EventRow",
    "FileRow",
    "Health",
    "History",
    "JobEventRow",
    "JobRow",
    "Miss",
    "Outcome",
    "RunRow",
    "rank",
    "status_of",
]
