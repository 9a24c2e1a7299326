"""``outdated``: compare pins with what their upstreams have now.

It changes nothing and fetches no file of a model: hubs state revisions, sizes and digests. What it found is
recorded, for ``list``, ``show`` and the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

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
from modelfetch.cli.tables import Column, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelfetch.model.manifest import Manifest
    from modelfetch.pins.outdated import Checked
    from modelfetch.workspace import Workspace

_STATES: Final = {"current": "up to date", "moved": "moved", "failed": "failed", "untracked": "no upstream"}


def outdated(
    names: options.PinNames = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 if anything moved.")] = False,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Ask the upstream of each pin what it has now. Changes and fetches nothing.

    Only models with [upstream] in their manifest have one, which `modelfetch add` writes.
    """
    from modelfetch.cli.pinning import names_of
    from modelfetch.pins.outdated import check_pins, git_blob_ids, record
    from modelfetch.pins.session import open_session
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    manifests = workspace.manifests(names_of(workspace, names)) if names else _tracked(workspace)
    if not json:
        notes(workspace)
        if not manifests:
            say("nothing to check: no model has an upstream (`modelfetch add` pins one that has)")
    require_network(workspace, manifests)
    if not json:
        say_private_upstreams(workspace, manifests)
    with open_session(workspace) as session:
        results = check_pins(
            manifests, session.upstream_for, parser(workspace), git_blob_ids(workspace.store)
        )
    record(workspace, results)
    if json:
        print_json({"models": [result.document for result in results]})
    elif results:
        _print_checked(results)
    raise typer.Exit(_exit_code(results, is_moved_a_failure=exit_code))


def _tracked(workspace: Workspace) -> list[Manifest]:
    """The manifests of all catalogs that name an upstream; a wrong one is reported and skipped."""
    from modelfetch.errors import ManifestError

    found = []
    for name in workspace.catalog.names():
        try:
            found.append(workspace.catalog.get(name))
        except ManifestError as error:
            say(f"warning: {error.message}")
    return [manifest for manifest in found if manifest.upstream is not None]


def _exit_code(results: Sequence[Checked], *, is_moved_a_failure: bool) -> int:
    """1 if anything moved and that counts; that of the first failure if no upstream answered; else 0."""
    if is_moved_a_failure and any(result.outcome == "moved" for result in results):
        return 1
    errors = [result.error for result in results if result.error is not None]
    is_answered = any(result.outcome in ("current", "moved") for result in results)
    return errors[0].exit_code if errors and not is_answered else 0


def _print_checked(results: Sequence[Checked]) -> None:
    from modelfetch.model.units import format_size
    from modelfetch.pins.outdated import pinned_revision

    rows = [
        [
            result.manifest.name,
            _STATES[result.outcome],
            short(pinned_revision(result.manifest)),
            short(result.revision),
            counts(result.comparison),
            format_size(result.comparison.fetch) if result.outcome == "moved" and result.comparison else "",
        ]
        for result in results
    ]
    columns = [
        Column("model", flexible=True),
        Column("upstream"),
        Column("pinned", drop=2),
        Column("now", drop=1),
        Column("files"),
        Column("to fetch", right=True),
    ]
    print_table(columns, rows)
    for result in results:
        if result.outcome == "moved" and result.comparison is not None:
            print_line("")
            print_line(f"{result.manifest.name} ({result.document['ref']})")
            print_changes(result.comparison)
    _say_results(results)


def _say_results(results: Sequence[Checked]) -> None:
    from modelfetch.reporters.terminal_text import plural

    for result in results:
        for notice in result.notices:
            say(f"note: {result.manifest.name}: {notice}")
        if result.outcome == "current" and result.comparison and result.comparison.uncompared:
            count = plural(len(result.comparison.uncompared), "file")
            say(f"note: {result.manifest.name}: {count} compared by size alone, as no digest is stated")
        if result.error is not None:
            say_error(about(result.manifest.name, result.error.message), result.error.hint)
        elif result.outcome == "untracked":
            say(f"note: {result.manifest.name}: its manifest names no upstream")
    if moved := [result.manifest.name for result in results if result.outcome == "moved"]:
        say(f"to move: modelfetch upgrade {' '.join(moved)}")
