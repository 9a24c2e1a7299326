"""The command ``gc``: remove from the cache what is no longer needed, or show what would be removed.

stdout has the path of each removed file, stderr a line for each version, download and entry with the reason,
and a summary. A dry run prints the same with other words.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfetch.cli import options
from modelfetch.cli.output import notes, print_json, say
from modelfetch.streams import write_path

if TYPE_CHECKING:
    from modelfetch.keep.gc import Action, CleanUp
    from modelfetch.keep.policy import Policy
    from modelfetch.workspace import Workspace


MaxSize = Annotated[
    str | None,
    typer.Option(
        "--max-size",
        metavar="SIZE",
        help="Also remove the least recently used models until the cache takes at most SIZE, such as 20GiB.",
        show_default=False,
    ),
]
UnusedFor = Annotated[
    str | None,
    typer.Option(
        "--unused-for",
        metavar="SPAN",
        help="Also remove models that were not used for this time, such as 30d.",
        show_default=False,
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="NAME",
        help="Never remove this model (repeatable).",
        autocompletion=options.complete_model,
        show_default=False,
    ),
]
Root = Annotated[
    list[str] | None,
    typer.Option(
        "--root",
        metavar="DIR",
        help="Never remove models that a modelfetch.toml in DIR or below it names (repeatable).",
        show_default=False,
    ),
]


def gc(
    max_size: MaxSize = None,
    unused_for: UnusedFor = None,
    keep: Keep = None,
    root: Root = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed.")] = False,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Free disk space: remove what is no longer needed.

    Without options, removes interrupted downloads older than cache.partial_days, quarantine entries older
    than cache.quarantine_days, and versions that were replaced more than cache.version_days ago. The models
    of this directory's project are never removed.
    """
    from modelfetch.keep.gc import clean_up
    from modelfetch.lazy_dataclass import replace
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    policy = _policy(workspace, max_size, unused_for)
    kept, closed = _kept(workspace, keep or [], root or [])
    if not json:
        notes(workspace)
        for directory in closed:
            say(f"warning: {directory} cannot be searched for projects")
    result = clean_up(workspace, replace(policy, kept=kept), time.time(), dry_run=dry_run)
    if json:
        print_json(_document(result, sorted(kept), dry_run=dry_run))
        return
    _print(result, dry_run=dry_run)
    if policy.max_size is not None and result.size_after > policy.max_size:
        say("warning: the cache is still larger than --max-size: the rest is kept, in use or recent")
    for note in workspace.notices.take():
        say(f"note: {note}")


def _policy(workspace: Workspace, max_size: str | None, unused_for: str | None) -> Policy:
    from modelfetch.errors import UsageError
    from modelfetch.keep.policy import Policy
    from modelfetch.model.units import parse_duration, parse_size

    cache = workspace.loaded.settings.cache
    try:
        size = None if max_size is None else parse_size(max_size)
    except ValueError as error:
        raise UsageError(f"--max-size: {error}", hint="Give a size such as --max-size 20GiB.") from None
    try:
        unused = None if unused_for is None else parse_duration(unused_for)
    except ValueError as error:
        raise UsageError(f"--unused-for: {error}", hint="Give a time such as --unused-for 30d.") from None
    return Policy(cache.partial_days, cache.quarantine_days, cache.version_days, unused, size)


def _kept(workspace: Workspace, keep: list[str], roots: list[str]) -> tuple[frozenset[str], list[str]]:
    """The names of models that stay, also those that aliases and references stand for."""
    from modelfetch.cli.pinning import names_of
    from modelfetch.keep.project_roots import names_of_projects
    from modelfetch.settings.locations import absolute, working_directory

    for name in names_of(workspace, keep):  # a name with a slip would not keep the model that is meant
        if not workspace.store.has_model(name):
            workspace.catalog.get(name)
    cwd = working_directory()
    named, closed = names_of_projects(
        [absolute(Path(directory), cwd) for directory in roots], workspace.loaded.cache_dir
    )
    names = {*names_of(workspace, keep), *workspace.loaded.models, *named}
    aliases = workspace.catalog.aliases()
    return frozenset({*names, *(aliases[name] for name in names if name in aliases)}), closed


def _document(result: CleanUp, kept: list[str], *, dry_run: bool) -> dict[str, Any]:
    return {
        "removed": [
            {
                "kind": each.kind,
                "name": each.name,
                "version": each.version,
                "reason": each.reason,
                "paths": [str(path) for path in each.paths],
                "freed": each.freed,
            }
            for each in result.actions
        ],
        "skipped": [
            {"kind": each.kind, "name": each.name, "version": each.version, "why": each.why}
            for each in result.skipped
        ],
        "kept": kept,
        "freed": result.freed,
        "size": result.size,
        "size_after": result.size_after,
        "dry_run": dry_run,
    }


def _print(result: CleanUp, *, dry_run: bool) -> None:
    from modelfetch.model.units import format_size

    removed, frees = ("would remove", "would free") if dry_run else ("removed", "freed")
    for each in result.actions:
        say(f"{removed} {title(each)} ({each.reason}); {frees} {format_size(each.freed)}")
        for path in each.paths:
            write_path(str(path))
    for skip in result.skipped:
        say(f"skipped {skip.kind} {' '.join(filter(None, (skip.name, skip.version)))}: {skip.why}")
    after = f"the cache {'would take' if dry_run else 'takes'} {format_size(result.size_after)}"
    say(f"{frees} {format_size(result.freed)}; {after}")


def title(action: Action) -> str:
    """Name what was removed: ``whisper-base 1846881b6b3a``, ``partial 3f9c...``."""
    return f"{action.name} {action.version}" if action.kind == "version" else f"{action.kind} {action.name}"
