"""Jobs whose server was killed: they failed, and say so."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Final

from modelfetch.engine.narration import narrate
from modelfetch.engine.record import Record, to_json
from modelfetch.engine.state import RunState
from modelfetch.server.answers import dumps
from modelfetch.server.keeper import Keeper
from modelfetch.server.life import INTERRUPTED
from modelfetch.server.log import Entry
from modelfetch.server.snapshots import Snapshot, cut_short

BEYOND: Final = 100_000
"""Added to the last number that was kept. Progress is not kept, so followers may have seen higher ones, and
the end must come behind all of them: it is hours of progress, of which ten seconds may be lost."""


def interrupted(snapshot: Snapshot, keeper: Keeper, now: datetime) -> Snapshot:
    """Give a job of an earlier server its end, if it has none; its log gets one too.

    Args:
        snapshot: The job as it was kept.
        keeper: Who kept it.
        now: The time of day.
    """
    if snapshot["finished_at"] is not None:
        return snapshot
    entry = _end(keeper.entries(snapshot["job_id"]), snapshot["last_event_id"] or 0, now)
    ended = cut_short(snapshot, INTERRUPTED, now) | {"last_event_id": entry.n}
    keeper.replace(ended, entry)
    return ended


def _end(entries: list[Entry], last: int, now: datetime) -> Entry:
    run = str(json.loads(entries[-1].data).get("run")) if entries else os.urandom(6).hex()
    last = max([last, *(entry.n for entry in entries[-1:])])
    record = Record(run, last + BEYOND, now, INTERRUPTED, RunState())
    return Entry(record.n, INTERRUPTED.kind, dumps(to_json(record) | {"human": narrate(record)}))
