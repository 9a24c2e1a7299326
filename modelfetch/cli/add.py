"""The command ``add``: pin a model that no catalog has, by a reference.

stdout gets what was pinned, as ``show`` prints it; stderr the manifest's path, notices and progress. With
``--quiet`` stdout has the name alone, so that a script can use it::

    name=$(modelfetch add hf:org/repo --quiet) && modelfetch ensure "$name"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfetch.cli import options
from modelfetch.cli.output import notes, print_json, print_line, say
from modelfetch.cli.tables import Column, print_facts, print_table

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.pins.add import Added, Target
    from modelfetch.pins.pin import Pin, PinnedFile, PinRequest
    from modelfetch.workspace import Workspace

_PATH = 32
"""Least width of a path, in cells, before digests go below their rows."""

References = Annotated[
    list[str],
    typer.Argument(
        metavar="REF...",
        help="hf:ORG/REPO, ms:..., gh:..., oci:..., ollama:..., ipfs:..., s3:..., a URL, path or hub's page.",
        show_default=False,
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Name of the model.", show_default=False)
]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", metavar="GLOB", help="Pin only these files (repeatable).", show_default=False),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="Leave these files out (repeatable).", show_default=False),
]
Revision = Annotated[
    str | None,
    typer.Option("--revision", metavar="REV", help="Branch, tag or commit.", show_default=False),
]
License = Annotated[
    str | None,
    typer.Option("--license", metavar="SPDX", help="License, instead of the stated one.", show_default=False),
]
ToCatalog = Annotated[
    str | None,
    typer.Option(
        "--to-catalog",
        metavar="CATALOG",
        help="user, project or a directory; default: project in a project, else user.",
        show_default=False,
    ),
]


def add(
    references: References,
    name: Name = None,
    include: Include = None,
    exclude: Exclude = None,
    revision: Revision = None,
    license: License = None,  # noqa: A002 - the name of the option
    to_catalog: ToCatalog = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be pinned.")] = False,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Pin a model by a reference such as hf:ORG/REPO.

    Writes a manifest with the size and SHA-256 of every file. Digests that a hub states are taken as stated,
    and proven at the first download. Other files are fetched once and hashed. Several references become
    several sources of one model; they must agree on every file. In a project the manifest goes into its
    catalog, and the name into its modelfetch.toml.
    """
    from modelfetch.cli.pinning import chooser, session_for
    from modelfetch.pins.add import add as add_pin
    from modelfetch.pins.add import target_of
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    target = target_of(workspace, to_catalog)
    talks = not (quiet or json)
    if talks:
        notes(workspace)
    with session_for(workspace, offline=offline, keep=not dry_run, quiet=quiet or json) as session:
        parsed = _at_revision(session.parse(references), revision)
        request = _request(parsed, name, include, exclude, license)
        added = add_pin(session, request, target, choose=chooser(json=json), dry_run=dry_run)
    if json:
        print_json(_document(added, target, dry_run=dry_run))
        return
    if quiet:
        print_line(added.manifest.name)
        return
    _print(workspace, added, target, dry_run=dry_run)
    if added.pin is None and license not in (None, added.manifest.license):
        say(f"note: --license was not used, because the model is pinned already; change it in {added.path}")


def _at_revision(references: Any, revision: str | None) -> Any:
    from modelfetch.pins.matching import at_revision

    return references if revision is None else tuple(at_revision(each, revision) for each in references)


def _request(
    references: Any,
    name: str | None,
    include: list[str] | None,
    exclude: list[str] | None,
    stated: str | None,
) -> PinRequest:
    from modelfetch.pins.pin import PinRequest

    return PinRequest(references, name, tuple(include or ()), tuple(exclude or ()), stated)


def _document(added: Added, target: Target, *, dry_run: bool) -> dict[str, Any]:
    manifest, pin = added.manifest, added.pin
    by_path = {one.file.path: one for one in pin.files} if pin else {}
    return {
        "model": manifest.name,
        "version": manifest.version,
        "identity": manifest.identity,
        "reference": manifest.upstream.ref if manifest.upstream else None,
        "license": manifest.license,
        "size": manifest.size,
        "manifest": str(added.path),
        "catalog": target.kind,
        "written": added.is_written,
        "listed": added.is_listed,
        "dry_run": dry_run,
        "fetched": pin.fetched if pin else 0,
        "files": [
            {
                "path": file.path,
                "size": file.size,
                "sha256": file.sha256,
                "stated_by": list(by_path[file.path].stated_by) if by_path else None,
            }
            for file in manifest.files
        ],
        "notices": list(pin.notices) if pin else [],
    }


def _print(workspace: Workspace, added: Added, target: Target, *, dry_run: bool) -> None:
    from modelfetch.pins.add import pinned_line

    manifest = added.manifest
    if added.pin is not None:
        _print_pin(manifest, added.pin)
    if added.is_written:
        copied = "" if added.pin is not None else ", copied from another catalog"
        say(f"{pinned_line(added, 'would pin' if dry_run else 'pinned')}{copied}")
    else:
        ref = manifest.upstream.ref if manifest.upstream else manifest.name
        more = "" if added.is_listed else "; nothing changed"
        say(f"{ref} is pinned already, as {manifest.name} {manifest.version}: {added.path}{more}")
    if added.is_listed and target.project_file is not None:
        verb = "would add" if dry_run else "added"
        say(f"{verb} {manifest.name} to models in {target.project_file}")
    if not dry_run:
        _say_next(workspace, added, target)


def _say_next(workspace: Workspace, added: Added, target: Target) -> None:
    """Say how to fetch the model, and how its catalog is found if no command would find it."""
    loaded = workspace.loaded
    known = (loaded.catalog_user, *loaded.catalog_project, *loaded.catalog_environment)
    if target.kind == "path" and target.directory not in known:
        say(f"note: set MODELFETCH_CATALOG={target.directory} so that commands find it there")
    elif added.is_written:
        say(f"next: modelfetch ensure {added.manifest.name}")


def _print_pin(manifest: Manifest, pin: Pin) -> None:
    from modelfetch.model.units import format_size
    from modelfetch.reporters.terminal_text import plural

    facts = [
        ("model", f"{manifest.name} {manifest.version}"),
        ("title", manifest.title),
        ("license", f"{manifest.license} (as stated by the publisher)" if manifest.license else "not stated"),
        ("homepage", manifest.homepage),
        ("size", f"{format_size(manifest.size)} in {plural(len(manifest.files), 'file')}"),
        *(("source", f"{kind} {text}") for kind, text in manifest.named_sources()),
        ("fetched", f"{format_size(pin.fetched)}, to compute digests" if pin.fetched else ""),
    ]
    print_facts([(label, value) for label, value in facts if value])
    print_line("")
    rows = [
        [one.file.path, format_size(one.file.size), _digest_of(one), one.file.sha256] for one in pin.files
    ]
    columns = [
        Column("file", flexible=True, least=_PATH),
        Column("size", right=True),
        Column("digest", flexible=True, prose=True),
        Column("sha256", whole=True),
    ]
    print_table(columns, rows)
    for notice in pin.notices:
        say(f"note: {notice}")


def _digest_of(one: PinnedFile) -> str:
    return f"stated by {', '.join(one.stated_by)}" if one.stated_by else "computed"
