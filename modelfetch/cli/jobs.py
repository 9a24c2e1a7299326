"""``jobs``, ``attach``, ``cancel`` and ``retry``: the jobs of a running server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from modelfetch.cli import options
from modelfetch.cli.output import print_json, say
from modelfetch.cli.tables import Column, print_table

if TYPE_CHECKING:
    from modelfetch.remote import Snapshot

Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="The job: its id, or the beginning of it.", show_default=False),
]


def jobs(server: options.Server = None, token: options.Token = None, json: options.Json = False) -> None:
    """List the jobs of a running server, the newest first."""
    from modelfetch.cli.remote import connect

    with closing(connect(server, token)) as there:
        if json:
            print_json(there.jobs_document())
        else:
            _print(there.jobs())


def attach(
    job_id: Id,
    server: options.Server = None,
    token: options.Token = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Follow a job from its beginning to its end.

    Shows what the command that does the same would show. Ctrl-C ends the following; the job goes on.
    """
    from modelfetch.cli.remote import connect, echo, watch
    from modelfetch.cli.run import Ready, leave, print_bad

    ready = Ready()
    with closing(connect(server, token)) as there:
        found = there.find_job(job_id)
        finished = watch(there, [found.job], json=json, quiet=quiet, ready=ready)
    if not json:
        echo(ready.directories.values())
        if found.operation == "model_verify":
            print_bad(finished, quiet=quiet)
    leave(finished)


def cancel(
    job_id: Id, server: options.Server = None, token: options.Token = None, json: options.Json = False
) -> None:
    """Cancel a job. What is good of its files stays on the server, and the next job goes on there."""
    from modelfetch.cli.remote import connect

    with closing(connect(server, token)) as there:
        found = there.find_job(job_id)
        answer = there.cancel(found.job_id)
    if json:
        print_json(answer)
    else:
        say(f"cancelled {_name(found)}; what is good of it stays on the server")


def retry(
    job_id: Id, server: options.Server = None, token: options.Token = None, json: options.Json = False
) -> None:
    """Do a failed or cancelled job again, and print the new id.

    It goes on where the job stopped.
    """
    from modelfetch.cli.remote import connect, echo
    from modelfetch.model.text import sanitise
    from modelfetch.remote import shorten

    with closing(connect(server, token)) as there:
        found = there.find_job(job_id)
        job = there.retry(found)
    if json:
        print_json({"job_id": job.id, "retry_of": found.job_id, "new": job.is_ours})
        return
    echo([job.id])
    name, verb = sanitise(shorten(job.id)), "began" if job.is_ours else "is under way already"
    say(f"{name} {verb}; modelfetch attach {name} follows it")


def _name(job: Snapshot) -> str:
    from modelfetch.model.text import sanitise
    from modelfetch.remote import shorten

    return sanitise(f"{shorten(job.job_id)} ({_what(job)})")


def _print(jobs: Sequence[Snapshot]) -> None:
    now = datetime.now(UTC)
    columns = [
        Column("id"),
        Column("model", flexible=True),
        Column("status"),
        Column("percent", right=True),
        Column("size", right=True, drop=4),
        Column("speed", right=True, drop=2),
        Column("ETA", right=True, drop=1),
        Column("age", right=True, drop=3),
    ]
    print_table(columns, [_row(job, now) for job in jobs])


def _row(job: Snapshot, now: datetime) -> list[str]:
    from modelfetch.model.units import format_duration, format_size
    from modelfetch.remote import shorten

    return [
        shorten(job.job_id),
        _what(job),
        job.phase if job.status == "running" else job.status,
        f"{int(job.percent)}%",
        f"{format_size(job.received)} / {format_size(job.size)}" if job.size else "-",
        _speed(job),
        "-" if job.eta is None else format_duration(job.eta),
        format_duration(max(0.0, (now - _time(job, now)).total_seconds())),
    ]


def _speed(job: Snapshot) -> str:
    from modelfetch.model.units import format_rate
    from modelfetch.reporters.words import idle

    if job.idle is not None:
        return idle(job.idle)
    return "-" if job.speed is None else format_rate(job.speed)


def _what(job: Snapshot) -> str:
    """Name the model, and what is done with it where that is not fetching."""
    if job.operation != "model_verify":
        return job.model
    return f"{job.model} ({'repair' if job.repair else 'verify'})"


def _time(job: Snapshot, now: datetime) -> datetime:
    """When a job was submitted; now where that is no time."""
    try:
        at = datetime.fromisoformat(job.created_at)
    except ValueError:
        return now
    return at if at.tzinfo is not None else now
