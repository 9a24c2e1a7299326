"""``history`` and ``log``: earlier runs as a table or a chart, and the events of one run as lines.

Both read the history database only (:mod:`modelfetch.history`) and never the network. ``history --plot``
draws a bar of text per day::

    2026-11-27  ████████████▌      148 MB
    2026-11-28  ██████████████████ 295 MB

Times are shown in the local time zone.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from modelfetch.cli import options
from modelfetch.cli.output import notes, print_json, print_line, say
from modelfetch.cli.tables import Column, print_table

if TYPE_CHECKING:
    from modelfetch.history import RunRow

WIDEST: Final = 60
"""Longest bar, in characters: long enough to compare days, and the value behind it stays close."""
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
"""Block of zero to eight eighths of a character (Unicode chart U+2580, Block Elements)."""

Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="SPAN", help="Only runs of the last SPAN, such as 24h.", show_default=False
    ),
]


def history(
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="Number of runs to show; default: 20.", show_default=False
        ),
    ] = None,
    since: Since = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw a chart of bytes per day instead.")] = False,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """List earlier runs, newest first.

    Runs that found all files present are counted in `metrics` only. The setting `history.days` is the number
    of days that other runs are kept.
    """
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    shown = limit if limit is not None or plot or since is not None else 20
    with workspace.history() as database:
        # Read one run more than is shown, to find out whether there are more.
        found = database.runs(since=span_start(since), limit=None if shown is None else shown + 1)
    runs = found[:shown]
    rest = f"showing the newest {shown} runs; use --limit N or --since SPAN to show more"
    rest = rest if len(runs) < len(found) else ""
    if json:
        print_json({"runs": [_document(run) for run in runs], "limit": shown, "note": rest})
        return
    notes(workspace)
    print_notice(database.notice)
    print_notice(rest)
    if plot:
        _plot(runs)
    else:
        _print_runs(runs)


def span_start(since: str | None) -> datetime | None:
    """Start of a time span, such as ``24h``, that ends now; None for None.

    Raises:
        UsageError: ``since`` is no time span.
    """
    from modelfetch.errors import UsageError
    from modelfetch.model.units import parse_duration

    if since is None:
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(since))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--since: {error}", hint="Give a number and a unit, such as --since 7d.") from None


def print_notice(notice: str) -> None:
    """Print a notice about the history, such as an error in reading it, unless it is empty."""
    if notice:
        say(f"note: {notice}")


def local_time(at: datetime) -> str:
    """Format a time in the local time zone: ``2026-11-20 06:00``."""
    return f"{at.astimezone():%Y-%m-%d %H:%M}"


def _document(run: RunRow) -> dict[str, Any]:
    from modelfetch.history.schema import stamp

    return {
        **asdict(run),
        "started_at": stamp(run.started_at),
        "finished_at": run.finished_at and stamp(run.finished_at),
        "speed": _speed(run),
    }


def _speed(run: RunRow) -> int | None:
    """Bytes per second of a whole run, including waiting; None if nothing was fetched."""
    return round(run.fetched / run.seconds) if run.fetched and run.seconds else None


def _print_runs(runs: Sequence[RunRow]) -> None:
    from modelfetch.model.units import format_duration, format_rate, format_size

    if not runs:
        say("no runs are recorded yet")
        return
    rows = [
        [
            local_time(run.started_at),
            run.run,
            run.operation,
            ", ".join(run.models),
            run.outcome,
            format_size(run.fetched) if run.fetched else "-",
            format_duration(run.seconds),
            format_rate(speed) if (speed := _speed(run)) else "-",
            str(run.failures or "-"),
        ]
        for run in runs
    ]
    columns = [
        Column("started"),
        Column("run"),
        Column("command", drop=2),
        Column("models", flexible=True),
        Column("outcome"),
        Column("fetched", right=True, drop=1),
        Column("time", right=True, drop=3),
        Column("speed", right=True, drop=4),
        Column("failures", right=True, drop=5),
    ]
    print_table(columns, rows)


def _plot(runs: Sequence[RunRow]) -> None:
    from modelfetch.model.units import format_size

    days = by_day((run.started_at.astimezone().date(), run.fetched) for run in runs)
    for line in bars([(f"{day}", fetched, format_size(fetched)) for day, fetched in days]):
        print_line(line)
    if not days:
        say("no runs are recorded yet")


def log(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="Id of the run, or its first characters; default: the last run.",
            show_default=False,
        ),
    ] = None,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Show the log of a run, one line for each event."""
    from modelfetch.errors import UsageError
    from modelfetch.model.text import quote, sanitize
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    with workspace.history() as database:
        found = database.runs(name=run, limit=1)
        events = database.events(found[0].run) if found else []
    print_notice(database.notice)
    if run is not None and not found:
        raise UsageError(
            f"no recorded run has the id {quote(run)}", hint="Run `modelfetch history` to list the ids."
        )
    if json:
        print_json({"run": found[0].run if found else None, "events": events})
        return
    if not found:
        say("no runs are recorded yet")
    elif not events:  # those of publish have none
        last = found[0]
        why = f": {sanitize(last.error)}" if last.error else ""
        print_line(f"{last.operation} {' '.join(map(sanitize, last.models))}: {last.outcome}{why}")
    for event in events:
        if event.get("human"):
            print_line(f"{local_clock_time(event['at'])}  {sanitize(event['human'])}")


def local_clock_time(at: str) -> str:
    """Format the time of an event in the local time zone: ``06:00:12``."""
    return f"{datetime.fromisoformat(at).astimezone():%H:%M:%S}"


def by_day(amounts: Iterable[tuple[date, int]]) -> list[tuple[date, int]]:
    """Add up amounts by day, including days without any between the first and the last one."""
    sums: Counter[date] = Counter()
    for day, amount in amounts:
        sums[day] += amount
    if not sums:
        return []
    first, last = min(sums), max(sums)
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return [(day, sums[day]) for day in days]


def bars(rows: Sequence[tuple[str, float, str]]) -> list[str]:
    """Draw one bar per line (label, bar, value), for the width and encoding of stdout."""
    room = shutil.get_terminal_size().columns - max((len(a) + len(c) + 5 for a, _, c in rows), default=0)
    return draw(rows, max(8, min(WIDEST, room)), is_ascii=not _has_blocks(sys.stdout.encoding))


def draw(rows: Sequence[tuple[str, float, str]], width: int, *, is_ascii: bool) -> list[str]:
    """Draw bars of at most ``width`` characters; the largest value gets the longest bar."""
    most = max((value for _, value, _ in rows), default=0) or 1
    label = max((len(name) for name, _, _ in rows), default=0)
    return [
        f"{name:<{label}}  {_bar(value / most * width, is_ascii=is_ascii):<{width}}  {figure}".rstrip()
        for name, value, figure in rows
    ]


def _bar(length: float, *, is_ascii: bool) -> str:
    """Draw one bar; a value above zero gets at least the smallest step, so that it is not taken for zero."""
    if is_ascii:
        return "#" * max(round(length), length > 0)
    whole, eighths = divmod(max(round(8 * length), length > 0), 8)
    return "█" * whole + _EIGHTHS[eighths].strip()


def _has_blocks(encoding: str | None) -> bool:
    try:
        _EIGHTHS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
