"""``metrics``: download attempts as records, summary or health of sources; as table, JSON, CSV or Prometheus.

The figures come from :mod:`modelfetch.history.metrics`; this module prints them. ``metrics reset`` deletes
the attempts.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfetch.cli import options
from modelfetch.cli.history import print_notice, span_start
from modelfetch.cli.output import print_json, print_line, say
from modelfetch.cli.sources import HOST
from modelfetch.cli.tables import SHORTEST, Column, print_table

if TYPE_CHECKING:
    from modelfetch.history import AttemptRow, RunRow
    from modelfetch.workspace import Workspace


class What(StrEnum):
    """What to show of the attempts; ``reset`` deletes them."""

    RECORDS = "records"
    SUMMARY = "summary"
    HEALTH = "health"
    RESET = "reset"


def metrics(
    what: Annotated[
        What, typer.Argument(metavar="[WHAT]", help="records, summary or health; reset deletes all attempts.")
    ] = What.RECORDS,
    since: Annotated[
        str, typer.Option("--since", metavar="SPAN", help="Only attempts of the last SPAN, such as 7d.")
    ] = "24h",
    csv: Annotated[bool, typer.Option("--csv", help="Print records as CSV.")] = False,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Print totals in the Prometheus text format.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what reset would delete.")] = False,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Show download attempts, summaries and the health of sources.

    `metrics reset` deletes all attempts, and with them the health of every host. Runs stay in `history`.
    """
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    if what is What.RESET:
        _reset(workspace, dry_run=dry_run, json=json)
        return
    start = span_start(since)
    with workspace.history() as history:
        rows, runs = workspace.attempts(history, start), history.runs(since=start)
    print_notice(history.notice)
    if prometheus:
        _print_prometheus(rows, runs)
    elif csv:
        _print_csv(rows)
    else:
        _PRINTERS[what](rows, json)


def _reset(workspace: Workspace, *, dry_run: bool, json: bool) -> None:
    from modelfetch.reporters.terminal_text import plural

    with workspace.history() as history:
        deleted = len(workspace.attempts(history)) if dry_run else workspace.reset_metrics(history)
    print_notice(history.notice)
    if json:
        print_json({"ok": True, "message": "Metrics reset", "attempts": deleted, "dry_run": dry_run})
    else:
        say(f"{'would delete' if dry_run else 'deleted'} {plural(deleted, 'attempt')}")


def _print_prometheus(rows: Sequence[AttemptRow], runs: Sequence[RunRow]) -> None:
    from modelfetch.history.metrics import prometheus

    for line in prometheus(rows, runs).splitlines():
        print_line(line)


def _print_csv(rows: Sequence[AttemptRow]) -> None:
    from modelfetch.history.metrics import RECORD_FIELDS, metrics_records
    from modelfetch.model.text import sanitize

    writer = csv.DictWriter(sys.stdout, RECORD_FIELDS, lineterminator="\n")
    writer.writeheader()
    for record in metrics_records(rows):
        # Without control characters, which would reach the terminal when the file is shown.
        writer.writerow({key: sanitize(f"{value}") for key, value in record.items()})


def _records(rows: Sequence[AttemptRow], json: bool) -> None:
    from modelfetch.history.metrics import metrics_records

    records = metrics_records(rows)
    if json:
        print_json({"metrics": records})
        return
    shown = ("timestamp", "model", "file", "layer", "host", "status", "latency_ms", "bytes_downloaded")
    names = [*shown, "error_type"]
    flexible = {"model", "file", "host"}
    right = {"latency_ms", "bytes_downloaded"}
    columns = [
        Column(
            name,
            right=name in right,
            flexible=name in flexible,
            least=HOST if name == "host" else SHORTEST,
            drop=_DROP.get(name, 0),
        )
        for name in names
    ]
    print_table(columns, [[f"{record.get(name, '')}" for name in names] for record in records])


_DROP = {"bytes_downloaded": 6, "latency_ms": 5, "timestamp": 4, "host": 3, "model": 2, "error_type": 1}
"""Order in which a narrow terminal leaves out columns, highest first: source kind, file and status stay."""


def _summary(rows: Sequence[AttemptRow], json: bool) -> None:
    from modelfetch.history.metrics import KINDS, summary
    from modelfetch.model.source_kinds import SourceKind
    from modelfetch.reporters.terminal_text import plural

    found = summary(rows)
    if json:
        print_json(found)
        return
    say(f"{plural(found['total'], 'attempt')}; {plural(found['cache_hits'], 'file')} found in the cache")
    lines = [(kind, found[kind]) for kind in KINDS]
    lines += [
        (f"{SourceKind.IPFS} {host}", tally) for host, tally in found[SourceKind.IPFS]["gateways"].items()
    ]
    cells = [[name, f"{tally['success']}", f"{tally['error']}", _ms(tally)] for name, tally in lines]
    head = [Column("source", flexible=True), *_right("success", "error"), _LATENCY]
    print_table(head, cells)


def _health(rows: Sequence[AttemptRow], json: bool) -> None:
    from modelfetch.history.metrics import KINDS, health

    found = health(rows)
    if json:
        print_json(found)
        return
    say(f"{found['cache']['hit_rate']:g} % of the requested files were found in the cache")
    cells = [[kind, judged["status"], *_figures(judged)] for kind in KINDS for judged in [found[kind]]]
    print_table([Column("source"), Column("status"), *_right("success"), _LATENCY], cells)


def _figures(judged: dict[str, Any]) -> list[str]:
    """Rate and latency of a kind of source; dashes if it was not used, as a rate of 0 would mean failures."""
    if judged["status"] == "unknown":
        return ["-", "-"]
    return [f"{judged['success_rate']:g} %", f"{judged['avg_latency_ms']} ms"]


_LATENCY = Column("avg latency", right=True, drop=1)


def _ms(tally: dict[str, Any]) -> str:
    return f"{tally['avg_latency']} ms" if tally["success"] else "-"


def _right(*names: str) -> list[Column]:
    return [Column(name, right=True) for name in names]


_PRINTERS = {What.RECORDS: _records, What.SUMMARY: _summary, What.HEALTH: _health}
