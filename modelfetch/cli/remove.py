"""``remove``: give the space of a model back."""

from __future__ import annotations

from typing import Annotated

import typer

from modelfetch.cli import options
from modelfetch.cli.talk import notes, print_json, say
from modelfetch.streams import write_path


def remove(
    name: options.Name,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed.")] = False,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Remove a model from the cache, all its versions. Bytes that other models use stay."""
    from modelfetch.model.units import format_size
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    removal = workspace.remove(name, dry_run=dry_run)
    if json:
        print_json(
            {
                "model": removal.name,
                "versions": list(removal.versions),
                "paths": [str(path) for path in removal.paths],
                "freed": removal.freed,
                "dry_run": dry_run,
            }
        )
        return
    notes(workspace)
    verb = "would remove" if dry_run else "removed"
    say(f"{verb} {len(removal.paths)} files of {removal.name}, {format_size(removal.freed)} freed")
    for path in removal.paths:
        write_path(str(path))
