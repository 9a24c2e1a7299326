"""What was remembered of earlier runs: runs, files, attempts, CIDs, events and jobs, in one SQLite file.

Derived from the stream of events and never needed: losing it loses no model. The only package that imports
sqlite3. Metrics are sums over its rows (:mod:`modelfetch.history.metrics`), the order of hosts follows from
them (:mod:`modelfetch.history.health`).
"""

from modelfetch.history.health import Health, Miss, rank, status_of
from modelfetch.history.history import FILE, History
from modelfetch.history.rows import (
    CACHE,
    EXHAUSTED,
    AttemptRow,
    CidRow,
    EventRow,
    FileRow,
    JobEventRow,
    JobRow,
    Outcome,
    RunRow,
)

__all__ = [
    "CACHE",
    "EXHAUSTED",
    "FILE",
    "AttemptRow",
    "CidRow",
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
