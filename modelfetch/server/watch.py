"""All jobs in one stream of snapshots, for pages that show them all."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.concurrency import run_in_threadpool

from modelfetch.server.jobs import Jobs, Known
from modelfetch.server.snapshots import moving
from modelfetch.server.sse import Alarm, Frames, frame

PAUSE: Final = 0.25
"""Seconds between two snapshots of one job: bars move four times a second, which looks alive."""


async def snapshots(jobs: Jobs, alarm: Alarm) -> Frames:
    """Give a snapshot of each job, and another one after each change; ends with the server."""
    seen: dict[str, int] = {}
    alarm.reset()
    async for piece in _changed(jobs, seen):
        yield piece
    yield frame("ready", {"jobs": list(seen)})
    while True:
        await alarm.wait()
        alarm.reset()
        for gone in seen.keys() - {job.id for job in jobs.all()}:
            del seen[gone]
            yield frame("gone", {"job_id": gone})
        async for piece in _changed(jobs, seen):
            yield piece
        if jobs.is_closed:
            return
        await asyncio.sleep(PAUSE)


async def _changed(jobs: Jobs, seen: dict[str, int]) -> Frames:
    """Give the jobs that are not what was seen of them; oldest first."""
    for job in jobs.all():
        version = job.version
        if seen.get(job.id) != version:
            seen[job.id] = version
            yield await run_in_threadpool(_frame, job)


def _frame(job: Known) -> bytes:
    return frame("jobs", moving(job.snapshot()))
