"""``quarantine``: list, show, restore and remove bytes that failed verification.

An entry is named by the start of its id, as ``quarantine list`` prints it: the digest that was expected.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelfetch.cli import options
from modelfetch.cli.help import Commands, epilog
from modelfetch.cli.output import notes, print_json, say
from modelfetch.cli.tables import Column, print_facts, print_table
from modelfetch.streams import write_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelfetch.store.evidence import Evidence
    from modelfetch.workspace import Workspace

app = typer.Typer(
    name="quarantine",
    cls=Commands,
    help="Handle data that failed verification.",
    epilog=epilog("quarantine"),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

SHOWN = 12
"""Digits of an id that are listed: more than enough for the entries of one cache."""

Id = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="First digits of an id that `quarantine list` shows.", show_default=False
    ),
]
Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID]...", help="First digits of ids that `quarantine list` shows.", show_default=False
    ),
]


@app.command("list", epilog=epilog("quarantine list"))
def list_entries(cache_dir: options.CacheDir = None, json: options.Json = False) -> None:
    """List the data that failed verification, oldest first."""
    from modelfetch.cli.history import local_time
    from modelfetch.keep.quarantine_entries import entry_document
    from modelfetch.model.units import format_size

    workspace, entries = _open(cache_dir)
    if json:
        print_json({"entries": [entry_document(entry) for entry in entries]})
        return
    notes(workspace)
    rows = [
        [
            entry.digest[:SHOWN],
            local_time(datetime.fromtimestamp(entry.at, UTC)),
            format_size(entry.size) if entry.size is not None else "-",
            entry.source or "-",
            entry.file or "-",
        ]
        for entry in entries
    ]
    columns = [
        Column("id"),
        Column("time"),
        Column("size", right=True),
        Column("source", flexible=True),
        Column("file", flexible=True),
    ]
    print_table(columns, rows)
    if not entries:
        say("the quarantine is empty")


@app.command("show", epilog=epilog("quarantine show"))
def show(entry: Id, cache_dir: options.CacheDir = None, json: options.Json = False) -> None:
    """Show one entry: what was expected, what arrived, and from where."""
    from modelfetch.keep.quarantine_entries import entry_document, time_text
    from modelfetch.model.units import format_size

    workspace, entries = _open(cache_dir)
    found = _find(entries, entry)
    if json:
        print_json(entry_document(found))
        return
    notes(workspace)
    facts = [
        ("id", found.digest),
        ("time", time_text(found)),
        ("size", f"{format_size(found.size)} ({found.size} bytes)" if found.size is not None else "no data"),
        ("expected", found.expected or "nothing: no manifest lists the file"),
        ("actual", found.actual or "not known"),
        ("source", found.source or "not known"),
        ("file", found.file),
        ("was at", found.path),
        ("is at", str(found.directory)),
    ]
    print_facts([(label, value) for label, value in facts if value])


@app.command("restore", epilog=epilog("quarantine restore"))
def restore(
    entry: Id,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="FILE", help="New file for the data; default: where it was.", show_default=False
        ),
    ] = None,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Move the data of an entry out of quarantine.

    Without --to, it goes back to where it was. No file is replaced. The data failed verification, so it
    cannot become a blob or a listed file of a model.
    """
    from modelfetch.settings.locations import absolute, working_directory

    workspace, entries = _open(cache_dir)
    found = _find(entries, entry)
    target = absolute(Path(to), working_directory()) if to is not None else None
    place = workspace.store.restore(found, target)
    if json:
        print_json({"id": found.digest, "path": str(place)})
        return
    notes(workspace)
    say(f"moved {found.digest[:SHOWN]} out of quarantine; it was not verified")
    write_path(str(place))


@app.command("purge", epilog=epilog("quarantine purge"))
def purge(
    entry: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all entries.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed.")] = False,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Delete entries and their data."""
    from modelfetch.errors import UsageError
    from modelfetch.model.units import format_size

    workspace, entries = _open(cache_dir)
    if not entry and not everything:
        raise UsageError("no entry is named", hint="Name ids of `modelfetch quarantine list`, or use --all.")
    wanted = entries if everything else list(dict.fromkeys(_find(entries, word) for word in entry or ()))
    reclaimer = workspace.store.reclaimer(workspace.store.survey(), dry_run=dry_run)
    done = [reclaimer.quarantined(each.key) for each in wanted]
    freed, paths = sum(each.freed for each in done), [path for each in done for path in each.paths]
    if json:
        print_json({"paths": [str(path) for path in paths], "freed": freed, "dry_run": dry_run})
        return
    notes(workspace)
    count = sum(bool(each.paths) for each in done)
    what = f"{count} {'entry' if count == 1 else 'entries'}"
    removed, frees = ("would remove", "would free") if dry_run else ("removed", "freed")
    say(f"{removed} {what}; {frees} {format_size(freed)}")
    for path in paths:
        write_path(str(path))


def _open(cache_dir: str | None) -> tuple[Workspace, list[Evidence]]:
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    return workspace, workspace.store.evidence()


def _find(entries: Sequence[Evidence], word: str) -> Evidence:
    """Find the entry whose id starts with a word.

    Raises:
        UsageError: There is none, or several.
    """
    from modelfetch.errors import UsageError
    from modelfetch.keep.quarantine_entries import matching
    from modelfetch.model.text import quote

    found = matching(entries, word)
    if len(found) == 1:
        return found[0]
    why = (
        f"{len(found)} entries have an id that starts with"
        if found
        else "no entry has an id that starts with"
    )
    hint = (
        "Give more digits: `modelfetch quarantine list` shows the ids."
        if found
        else "Run `modelfetch quarantine list`."
    )
    raise UsageError(f"{why} {quote(word)}", hint=hint)
