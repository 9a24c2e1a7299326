"""``upgrade`` and ``diff``: move pins on request, and show what differs between versions.

Only ``upgrade`` changes anything, and only the manifests that are named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfetch.cli import options
from modelfetch.cli.changes import (
    about,
    counts,
    parser,
    print_changes,
    require_network,
    say_private_upstreams,
    short,
)
from modelfetch.cli.output import notes, print_json, print_line, say, say_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelfetch.errors import ModelfetchError
    from modelfetch.model.manifest import Manifest
    from modelfetch.pins.comparison import Comparison
    from modelfetch.pins.session import PinSession
    from modelfetch.pins.upgrade import Upgrade
    from modelfetch.workspace import Workspace


def upgrade(
    names: options.MovedNames,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision",
            metavar="R",
            help="Branch, tag or commit to move to, and to follow from then on.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change.")] = False,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Move pins to what their upstreams have now. The old version stays in the cache.

    Changes the manifests in your own or the project's catalog, and fetches only small files whose digest the
    hub does not state; `modelfetch ensure` fetches the rest.
    """
    from modelfetch.cli.pinning import names_of
    from modelfetch.errors import UsageError
    from modelfetch.pins.session import open_session
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    manifests = workspace.manifests(names_of(workspace, names))
    if revision is not None and len(manifests) > 1:
        raise UsageError("--revision is for one model", hint="Run the command once for each.")
    if not json:
        notes(workspace)
    require_network(workspace, manifests)
    if not json:
        say_private_upstreams(workspace, manifests)
    documents, errors = [], []
    with open_session(workspace, keep=not dry_run) as session:
        for manifest in manifests:
            document, error = _upgrade_one(workspace, session, manifest.name, revision, dry_run, json)
            documents.append(document)
            errors += [error] if error is not None else []
    if json:
        print_json({"upgrades": documents, "dry_run": dry_run})
    if errors:
        raise typer.Exit(errors[0].exit_code)


def _upgrade_one(
    workspace: Workspace, session: PinSession, name: str, revision: str | None, dry_run: bool, json: bool
) -> tuple[dict[str, Any], ModelfetchError | None]:
    """Move one pin; an error is reported, so that the pins after it are moved all the same."""
    from modelfetch.errors import ModelfetchError
    from modelfetch.pins.outdated import record_pinned
    from modelfetch.pins.upgrade import apply, prepare

    try:
        change = prepare(workspace, name, session.upstream_for, session.digests, parser(workspace), revision)
        if not json:
            _print_upgrade(change)
        notices = [] if dry_run or change.is_empty else apply(change)
    except ModelfetchError as error:
        if not json:
            say_error(about(name, error.message), error.hint)
        return {
            "name": name,
            "error": {"code": error.code, "message": error.message, "hint": error.hint},
        }, error
    if not dry_run:
        record_pinned(workspace, change.new)
    if not json:
        _say_upgrade(change, notices, dry_run=dry_run)
    return {**change.document, "notices": [*change.notices, *notices]}, None


def _print_upgrade(change: Upgrade) -> None:
    if change.is_empty:
        return
    ref = change.document["ref"]
    print_line(f"{change.old.name}: {change.old.version} -> {change.new.version} ({ref})")
    print_changes(change.comparison)


def _say_upgrade(change: Upgrade, notices: Sequence[str], *, dry_run: bool) -> None:
    from modelfetch.model.units import format_size

    for notice in (*change.notices, *notices):
        say(f"note: {change.old.name}: {notice}")
    name, fetch = change.old.name, format_size(change.comparison.fetch)
    if change.is_empty:
        say(f"{name} is up to date ({change.old.version})")
    elif dry_run:
        say(f"would move {name} to {change.new.version}, with {fetch} to fetch; nothing was changed")
    else:
        say(f"moved {name} to {change.new.version} in {change.path}")
        say(f"to fetch {fetch}: modelfetch ensure {name} (version {change.old.version} stays in the cache)")


def diff(
    name: options.Name,
    version: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VERSION]...",
            help="Versions of the catalog or the cache to compare; without one, the pin with its upstream.",
            show_default=False,
        ),
    ] = None,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Show what differs between a pin and its upstream.

    Or between two versions of a model, of the catalog or the cache. Offline, the pin is compared with the
    newest other version in the cache.
    """
    from modelfetch.cli.pinning import names_of
    from modelfetch.errors import UsageError
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    manifest = workspace.manifests(names_of(workspace, [name]))[0]
    if not json:
        notes(workspace)
    labels = version or []
    if len(labels) > 2:
        raise UsageError("more than two versions are given", hint="Run `modelfetch diff --help`.")
    is_asked = not labels and manifest.upstream is not None and not workspace.loaded.offline
    if is_asked:
        if not json:
            say_private_upstreams(workspace, [manifest])
        before, after, comparison = _against_upstream(workspace, manifest)
    else:
        before, after, comparison = _against_version(workspace, manifest, labels)
    if json:
        print_json({"name": manifest.name, "from": before, "to": after, **comparison.document})
        return
    # ModelScope and plain addresses state no revision: then the version tells more than the branch.
    change = f"{short(before)} -> {short(after)}" if after else f"{manifest.version} -> now"
    print_line(f"{manifest.name}: {change}")
    print_changes(comparison)
    _say_difference(comparison)


def _say_difference(comparison: Comparison) -> None:
    from modelfetch.model.units import format_size

    if not comparison.changes and not comparison.uncompared:
        say("no file differs")
    else:
        say(f"{counts(comparison)}; {format_size(comparison.fetch)} to fetch")


def _against_upstream(workspace: Workspace, manifest: Manifest) -> tuple[str, str, Comparison]:
    from modelfetch.pins.outdated import check_pin, git_blob_ids, pinned_revision, record
    from modelfetch.pins.session import open_session

    with open_session(workspace) as session:
        result = check_pin(manifest, session.upstream_for, parser(workspace), git_blob_ids(workspace.store))
    record(workspace, [result])
    if result.error is not None:
        raise result.error
    assert result.comparison is not None, "every successful check has one"
    return pinned_revision(manifest), result.revision, result.comparison


def _against_version(
    workspace: Workspace, manifest: Manifest, labels: Sequence[str]
) -> tuple[str, str, Comparison]:
    from modelfetch.pins.comparison import from_difference
    from modelfetch.pins.difference import difference
    from modelfetch.pins.upgrade import newest_other, version

    first = version(workspace, manifest, labels[0]) if labels else newest_other(workspace, manifest)
    second = version(workspace, manifest, labels[1]) if len(labels) > 1 else manifest
    return first.version, second.version, from_difference(difference(first, second))
