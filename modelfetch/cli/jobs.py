"""``jobs``, ``attach``, ``cancel`` and ``retry``: the jobs of a running server.

The server may be on another machine (``--server``, ``--token``). Its answers are input and are sanitized
before they are printed. ``attach`` prints what ``ensure`` or ``verify`` would print here, with the same exit
code.
"""

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
    typer.Argument(
        metavar="ID",
        help="Id of the job, or its first characters.",
        autocompletion=options.complete_job,
        show_default=False,
    ),
]


def jobs(server: options.Server = None, token: options.Token = None, json: options.Json = False) -> None:
    """List the jobs of a running server, newest first."""
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
    """Follow a job until it ends.

    Prints what the same command would print on this machine. Ctrl-C stops following; the job continues.
    """
    from modelfetch.cli.remote import connect, print_lines, watch
    from modelfetch.cli.run import Ready, exit_with, print_bad

    ready = Ready()
    with closing(connect(server, token)) as there:
        found = there.find_job(job_id)
        finished = watch(there, [found.job], json=json, quiet=quiet, ready=ready)
    if not json:
        print_lines(ready.directories.values())
        if found.operation == "model_verify":
            print_bad(finished, quiet=quiet)
    exit_with(finished)


def cancel(
    job_id: Id, server: options.Server = None, token: options.Token = None, json: options.Json = False
) -> None:
    """Cancel a job. The server keeps the data fetched so far, and a later job continues from it."""
    from modelfetch.cli.remote import connect

    with closing(connect(server, token)) as there:
        found = there.find_job(job_id)
        answer = there.cancel(found.job_id)
    if json:
        print_json(answer)
    else:
        say(f"cancelled {_name(found)}; the server keeps the data fetched so far")


def retry(
    job_id: Id, server: options.Server = None, token: options.Token = None, json: options.Json = False
) -> None:
    """Run a failed or cancelled job again, and print the new id.

    The new job continues where the old one stopped.
    """
    from modelfetch.cli.remote import connect, print_lines
    from modelfetch.model.text import sanitize
    from modelfetch.remote import shorten

    with closing(connect(server, token)) as there:
        found = there.find_job(job_id)
        job = there.retry(found)
    if json:
        print_json({"job_id": job.id, "retry_of": found.job_id, "new": job.is_ours})
        return
    print_lines([job.id])
    name, verb = sanitize(shorten(job.id)), "submitted" if job.is_ours else "already exists"
    say(f"job {name} {verb}; follow it with `modelfetch attach {name}`")


def _name(job: Snapshot) -> str:
    from modelfetch.model.text import sanitize
    from modelfetch.remote import shorten

    return sanitize(f"{shorten(job.job_id)} ({_what(job)})")


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
    from modelfetch.reporters.terminal_text import idle

    if job.idle is not None:
        return idle(job.idle)
    return "-" if job.speed is None else format_rate(job.speed)


def _what(job: Snapshot) -> str:
    """Model of a job, and its operation unless that is fetching."""
    if job.operation != "model_verify":
        return job.model
    return f"{job.model} ({'repair' if job.repair else 'verify'})"


def _time(job: Snapshot, now: datetime) -> datetime:
    """Time at which a job was submitted; now if the server sent no valid time."""
    try:
        at = datetime.fromisoformat(job.created_at)
    except ValueError:
        return now
    return at if at.tzinfo is not None else now
