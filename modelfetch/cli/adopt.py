"""The command ``adopt``: pin what lies on this disk already, and make it present without a request.

stdout gets a table of what came of each model, stderr progress and what to do about models that were not
adopted.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfetch.cli import options
from modelfetch.cli.output import notes, print_json, say
from modelfetch.cli.tables import Column, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelfetch.engine.events import RunFinished
    from modelfetch.pins.adopt import Adopted
    from modelfetch.pins.digests import Digests
    from modelfetch.workspace import Workspace


def adopt(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PLACE",
            help="A directory, hf (the Hugging Face cache), hf:ORG/REPO, ollama, or ollama:NAME.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the model.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be adopted.")] = False,
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Pin models that other programs have on this disk.

    Makes them present without the network.
    Every byte is verified while it is copied (or cloned, where the file system can). Models that are
    incomplete or damaged there are reported and left out. The manifests go into the user's catalog.
    """
    from modelfetch.workspace import Workspace

    flags: dict[str, object] = {"cache_dir": cache_dir}
    workspace = Workspace.open(flags)
    adopted = _pin(workspace, target, name, dry_run=dry_run, quiet=quiet or json)
    usable = list(dict.fromkeys(each.name for each in adopted if each.manifest is not None))
    finished = None
    if usable and not dry_run:
        flags |= _searched(workspace, target)
        finished = _ensure(Workspace.open(flags), usable, quiet=quiet, json=json)
        adopted = [_after(each, finished) for each in adopted]
    if json:
        print_json({"models": [_document(each, workspace) for each in adopted], "dry_run": dry_run})
    else:
        if finished is None and not quiet:  # a run prints them itself
            notes(workspace)
        _print(workspace, adopted, target, dry_run=dry_run, quiet=quiet)
    raise typer.Exit(_exit_code(adopted, finished))


def _pin(workspace: Workspace, target: str, name: str | None, *, dry_run: bool, quiet: bool) -> list[Adopted]:
    """Pin every model of a place.

    Raises:
        UsageError: A name is given for several models.
    """
    from modelfetch.errors import UsageError
    from modelfetch.pins.adopt import Adopter, models_at

    models = models_at(workspace, target)
    if name is not None and len(models) != 1:
        raise UsageError(
            f"--name is for one model, and {len(models)} were found",
            hint="Name one of them: hf:ORG/REPO or ollama:NAME.",
        )
    with _digests_of(workspace, keep=not dry_run, quiet=quiet) as digests:
        adopter = Adopter(workspace, digests, dry_run=dry_run)
        return [adopter.adopt(model, name) for model in models]


@contextmanager
def _digests_of(workspace: Workspace, *, keep: bool, quiet: bool) -> Iterator[Digests]:
    """Compute digests, show progress, and remember those of large files, which may be cloned later."""
    from modelfetch.cancel import Cancellation
    from modelfetch.cli.pinning import ProgressLine
    from modelfetch.engine.known_digests import HistoryDigests
    from modelfetch.pins.digests import StoreDigests
    from modelfetch.pins.remembered_digests import RememberedDigests

    line = ProgressLine(quiet=quiet)
    dropping = StoreDigests(workspace.store, line, keep=False)
    days = workspace.loaded.settings.history.days
    known = HistoryDigests(workspace.loaded.cache_dir, days, Cancellation()) if keep and days else None
    keeping = StoreDigests(workspace.store, line) if keep else dropping
    try:
        yield keeping if known is None else RememberedDigests(keeping, dropping, known)
    finally:
        line.clear()
        if known is not None:
            known.close()


def _searched(workspace: Workspace, target: str) -> dict[str, object]:
    """Return the setting that lets a run search an adopted directory too."""
    directory = Path(target)
    if target in ("hf", "ollama") or not directory.is_dir():
        return {}
    return {"sources.local": [str(directory.resolve()), *workspace.loaded.settings.sources.local]}


def _ensure(workspace: Workspace, names: Sequence[str], *, quiet: bool, json: bool) -> RunFinished:
    """Make pinned models present, from this disk alone."""
    from modelfetch.cli.run import run
    from modelfetch.engine.options import EnsureOptions
    from modelfetch.engine.setup import RunOptions
    from modelfetch.model.source_kinds import SourceKind

    # Not offline: with this kind of source alone no request is made either, and a damaged file is reported as
    # such instead of as missing.
    wanted = EnsureOptions(run=RunOptions(only=(SourceKind.LOCAL.value,)))
    events = workspace.ensure(workspace.manifests(names), wanted)
    # With --json stdout has one document, so the events of the run are not printed.
    return run(workspace, events, json=False, quiet=quiet or json)


def _after(adopted: Adopted, finished: RunFinished) -> Adopted:
    """Mark a model that could not be made present: it stays pinned, so that it can be repaired."""
    from modelfetch.lazy_dataclass import replace

    failed = [file.file for file in finished.files if file.model == adopted.name and file.status == "failed"]
    if not failed:
        return adopted
    hint = f"It is pinned: `modelfetch ensure {adopted.name}` fetches what is damaged from its other sources."
    return replace(adopted, state="damaged", reason=f"{failed[0]} is damaged or not there", hint=hint)


def _document(adopted: Adopted, workspace: Workspace) -> dict[str, Any]:
    manifest = adopted.manifest
    return {
        "from": adopted.place,
        "state": adopted.state,
        "model": adopted.name or None,
        "version": manifest.version if manifest else None,
        "files": len(manifest.files) if manifest else None,
        "size": manifest.size if manifest else None,
        "manifest": str(adopted.path) if adopted.path else None,
        "present": workspace.is_present(manifest) if manifest else False,
        "path": str(workspace.store.directory(manifest)) if manifest else None,
        "reason": adopted.reason,
        "hint": adopted.hint,
        "notices": list(adopted.notices),
    }


def _print(
    workspace: Workspace, adopted: Sequence[Adopted], target: str, *, dry_run: bool, quiet: bool
) -> None:
    from modelfetch.cli.output import say_error
    from modelfetch.model.units import format_size

    for each in adopted if not quiet else ():
        for notice in each.notices:
            say(f"note: {notice}")
    for each in adopted:
        if each.reason:
            is_named = each.reason.startswith(each.place)
            say_error(each.reason if is_named else f"{each.place}: {each.reason}", each.hint)
    if not adopted:
        loaded = workspace.loaded
        ollama = " or ".join(map(str, loaded.ollama_models))
        places = {"hf": (str(loaded.hf_cache), "HF_HUB_CACHE"), "ollama": (ollama, "OLLAMA_MODELS")}
        place, variable = places.get(target, (target, ""))
        other = f" ({variable} names another directory)" if variable else ""
        say(f"nothing to adopt: there are no models in {place}{other}")
        return
    words = {"adopted": "would adopt"} if dry_run else {}
    rows = [
        [
            each.name or "-",
            words.get(each.state, each.state),
            str(len(each.manifest.files)) if each.manifest else "-",
            format_size(each.manifest.size) if each.manifest else "-",
            each.place,
        ]
        for each in adopted
    ]
    columns = [
        Column("model"),
        Column("state"),
        Column("files", right=True, drop=1),
        Column("size", right=True),
        Column("from", flexible=True),
    ]
    print_table(columns, rows)


def _exit_code(adopted: Sequence[Adopted], finished: RunFinished | None) -> int:
    """The code of the run, else that of damaged files, else that of a name that is taken."""
    from modelfetch.errors import IntegrityError, UsageError

    if finished is not None and finished.exit_code:
        return finished.exit_code
    states = {each.state for each in adopted}
    if "damaged" in states:
        return IntegrityError.exit_code
    return UsageError.exit_code if "refused" in states else 0
