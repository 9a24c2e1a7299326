"""The command ``remove``: takes models out of the cache and, if asked, their pins out of the catalogs.

Several models are removed one after the other. All names are checked before the first file goes, and a dry
run counts a blob that only these models use for the last of them, as the run does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfetch.cli import options
from modelfetch.cli.output import notes, print_json, say
from modelfetch.streams import write_path

if TYPE_CHECKING:
    from modelfetch.pins.unpin import Unpinned
    from modelfetch.store import Removal
    from modelfetch.workspace import Workspace


def remove(
    names: options.RemovedNames,
    version: Annotated[
        str | None,
        typer.Option("--version", metavar="VERSION", help="Remove this version only.", show_default=False),
    ] = None,
    unpin: Annotated[
        bool, typer.Option("--unpin", help="Also delete its manifest from your catalog or the project's.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed.")] = False,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Remove models from the cache. Data that other models use is kept.

    All versions go, unless --version names one. With --unpin the manifest is deleted too, and the name is
    taken out of the project's modelfetch.toml.
    """
    from modelfetch.cli.pinning import names_of
    from modelfetch.errors import UsageError
    from modelfetch.workspace import Workspace

    if unpin and version is not None:
        raise UsageError("--unpin is for all versions", hint="Leave out --version or --unpin.")
    workspace = Workspace.open({"cache_dir": cache_dir})
    wanted = list(dict.fromkeys(names_of(workspace, names)))
    # First on paper: a name may be unknown, and a pin one that may not be deleted.
    unpinned = [_unpin(workspace, name, dry_run=True) for name in wanted] if unpin else []
    removals = _on_paper(workspace, wanted, version)
    if not dry_run:
        removals = [workspace.remove(name, version, dry_run=False) for name in wanted]
        unpinned = [_unpin(workspace, name, dry_run=False) for name in wanted] if unpin else []
    if json:
        print_json(_document(removals, unpinned, dry_run=dry_run))
        return
    notes(workspace)
    for number, removal in enumerate(removals):
        _print(removal, unpinned[number].paths if unpinned else (), dry_run=dry_run)


def _on_paper(workspace: Workspace, names: Sequence[str], version: str | None) -> list[Removal]:
    """Compute the removals without doing them.

    Raises:
        UsageError: A model is not in the cache in that version.
        UnknownModelError: A name is neither in the cache nor in a catalog.
    """
    from modelfetch.errors import UsageError
    from modelfetch.model.text import quote

    removals: list[Removal] = []
    for name in names:
        removal = workspace.remove(name, version, dry_run=True, earlier=removals)
        if version is not None and not removal.versions:
            every = workspace.remove(name, dry_run=True).versions
            held = f"it has {', '.join(every)}" if every else "it has none"
            raise UsageError(
                f"the cache has no version {quote(version)} of {removal.name}",
                hint=f"Of this model {held}.",
            )
        removals.append(removal)
    return removals


def _unpin(workspace: Workspace, name: str, *, dry_run: bool) -> Unpinned:
    from modelfetch.pins.unpin import unpin

    return unpin(workspace, name, dry_run=dry_run)


def _document(removals: Sequence[Removal], unpinned: Sequence[Unpinned], *, dry_run: bool) -> dict[str, Any]:
    """One removal as an object; several as a list of such objects."""
    documents: list[dict[str, Any]] = [
        {
            "model": removal.name,
            "versions": list(removal.versions),
            "paths": [str(path) for path in removal.paths],
            "freed": removal.freed,
            **({"unpinned": [str(path) for path in unpinned[number].paths]} if unpinned else {}),
            "dry_run": dry_run,
        }
        for number, removal in enumerate(removals)
    ]
    if len(documents) == 1:
        return documents[0]
    return {"removals": documents, "freed": sum(removal.freed for removal in removals), "dry_run": dry_run}


def _print(removal: Removal, unpinned: Sequence[Path], *, dry_run: bool) -> None:
    from modelfetch.model.units import format_size
    from modelfetch.reporters.terminal_text import plural

    removed, freed = ("would remove", "would free") if dry_run else ("removed", "freed")
    files = plural(len(removal.paths), "file")
    say(f"{removed} {files} of {removal.name}; {freed} {format_size(removal.freed)}")
    for path in removal.paths:
        write_path(str(path))
    for path in unpinned:
        say(f"{'would unpin' if dry_run else 'unpinned'} {removal.name} in {path}")
