"""``publish``: puts a model on IPFS, or prepares that.

stdout gets the reference of the directory, stderr a line for each target and file written::

    $ modelfetch publish my-model --to kubo
    pinned at 127.0.0.1:5001 (209 MB sent)
    wrote the CIDs into /home/me/.config/modelfetch/catalog/my-model.toml
    ipfs:bafybei...

Tokens come from the environment alone (:mod:`modelfetch.publish.targets`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfetch.cli import options
from modelfetch.cli.cid import Profile, ProfileName
from modelfetch.cli.output import notes, print_json, print_line, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelfetch.cli.pinning import ProgressLine
    from modelfetch.ipfs.file_tree import Built
    from modelfetch.publish.car_file import WrittenCar
    from modelfetch.publish.publication import Publication, Published, Wanted
    from modelfetch.publish.selection import Selected
    from modelfetch.publish.tree_hashing import HashingPool
    from modelfetch.workspace import Workspace

What = Annotated[
    str,
    typer.Argument(
        metavar="NAME|DIR",
        help="A model that is present, or a directory.",
        autocompletion=options.complete_model,
        show_default=False,
    ),
]
To = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        metavar="TARGET",
        help="kubo, kubo=URL, pinata, or the URL of a pinning service (repeatable).",
        show_default=False,
    ),
]
Car = Annotated[
    str | None,
    typer.Option("--car", metavar="FILE", help="Write all blocks to this CAR file.", show_default=False),
]
Skeleton = Annotated[
    str | None,
    typer.Option(
        "--skeleton",
        metavar="FILE",
        help="Write the blocks that prove each chunk of the files to this CAR file.",
        show_default=False,
    ),
]
ManifestFile = Annotated[
    str | None,
    typer.Option(
        "--manifest",
        metavar="FILE",
        help="Write the manifest with the CIDs here, not into its catalog.",
        show_default=False,
    ),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0, help="Longest wait for a pinning service."),
]


def publish(
    what: What,
    to: To = None,
    car: Car = None,
    skeleton: Skeleton = None,
    manifest: ManifestFile = None,
    profile: Profile = ProfileName.V1_2025,
    timeout: Timeout = 600.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be published.")] = False,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Publish a model on IPFS.

    Computes the CIDs of all files and of their directory, hands the blocks to the targets, and writes the
    CIDs into the manifest. Prints the reference of the directory. Run it again to continue. Tokens are
    variables: KUBO_API_TOKEN, PINATA_JWT, IPFS_PINNING_TOKEN.
    """
    from modelfetch.ipfs.profiles import PROFILES
    from modelfetch.publish.publication import Wanted
    from modelfetch.publish.targets import parse_targets
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    targets = parse_targets(to or [], os.environ)
    if targets:
        _check_online(workspace, targets[0].host, offline=offline)
    wanted = Wanted(
        PROFILES[profile],
        targets,
        _path(car, "--car"),
        _path(skeleton, "--skeleton"),
        _path(manifest, "--manifest"),
        timeout,
        dry_run,
    )
    is_silent = quiet or json
    if not is_silent:
        notes(workspace)
    with _line(quiet=is_silent) as line:
        selected, done = _publish(workspace, what, wanted, line)
    if json:
        print_json(_document(selected, done, wanted))
        return
    if not quiet:
        _report(done, dry_run=dry_run)
    print_line(f"ipfs:{done.tree.root.text}")


def _publish(
    workspace: Workspace, what: str, wanted: Wanted, line: ProgressLine
) -> tuple[Selected, Published]:
    from modelfetch.publish.known_trees import keep_maps
    from modelfetch.publish.publication import Publication
    from modelfetch.publish.tree_hashing import HashingPool

    with HashingPool() as pool:
        selected, known = _select(workspace, what, wanted, pool, line)
        publication = Publication(selected, wanted, pool, line.show, line.say)
        publication.check()
        with _recorded(workspace, selected, dry_run=wanted.dry_run) as finished:
            done = publication.hash(known)
            if not (selected.is_directory or wanted.dry_run):
                keep_maps(workspace.store, done.tree)  # for verify, and for later runs of this command
            publication.write_cars(done)
            _hand_over(workspace, publication, done, wanted, line)
            publication.write_manifest(done)
            finished.append(done)
    return selected, done


def _select(
    workspace: Workspace, what: str, wanted: Wanted, pool: HashingPool, line: ProgressLine
) -> tuple[Selected, Mapping[str, Built]]:
    """Select the model; a directory is pinned, and read for that."""
    from modelfetch.cli.pinning import session_for
    from modelfetch.publish import selection
    from modelfetch.publish.known_trees import known_trees

    if not selection.is_directory(workspace, what):
        found = selection.model(workspace, what)
        return found, known_trees(workspace.store, found.manifest, wanted.profile)
    digests = selection.TreeDigests(wanted.profile, pool, line)
    with session_for(workspace, offline=True, quiet=True, keep=False) as session:
        selected = selection.directory(session, what, digests, dry_run=wanted.dry_run)
    if selected.is_new:
        name = f"{selected.manifest.name} {selected.manifest.version}"
        line.say(f"{'would pin' if wanted.dry_run else 'pinned'} {what} as {name} in {selected.path}")
        if selected.listed_in is not None:
            verb = "would add" if wanted.dry_run else "added"
            line.say(f"{verb} {selected.manifest.name} to models in {selected.listed_in}")
    return selected, digests.trees


@contextmanager
def _recorded(workspace: Workspace, selected: Selected, *, dry_run: bool) -> Iterator[list[Published]]:
    """Record the run in the history, whatever its end; a block appends what it published."""
    from modelfetch.publish.publication_record import record

    started, finished = datetime.now(UTC), list[Any]()
    failure: BaseException | None = None
    try:
        yield finished
    except BaseException as error:
        failure = error
        raise
    finally:
        if not dry_run:
            with workspace.history() as history:
                tree = finished[0].tree if finished else None
                record(history, selected.manifest, tree, started, failure)


def _hand_over(
    workspace: Workspace, publication: Publication, done: Published, wanted: Wanted, line: ProgressLine
) -> None:
    if not wanted.targets:
        return
    from modelfetch.cancel import Cancellation
    from modelfetch.net.hub_client import HubClient

    cancel = Cancellation()
    hub = HubClient.of_settings(workspace.loaded.settings, cancel, waiting=line.say)
    try:
        publication.hand_over(done, hub, cancel)
    finally:
        hub.client.close()


@contextmanager
def _line(*, quiet: bool) -> Iterator[ProgressLine]:
    """Show which file is under way."""
    from modelfetch.cli.pinning import ProgressLine

    line = ProgressLine(quiet=quiet)
    try:
        yield line
    except KeyboardInterrupt:
        line.say("cancelled; run the command again to continue")
        raise
    finally:
        line.clear()


def _check_online(workspace: Workspace, host: str, *, offline: bool) -> None:
    from modelfetch.errors import OfflineError

    if offline or workspace.loaded.offline:
        raise OfflineError(
            f"cannot publish to {host}: the network may not be used",
            hint="Run again without --offline (MODELFETCH_OFFLINE, HF_HUB_OFFLINE), or without --to.",
        )


def _path(text: str | None, option: str) -> Path | None:
    from modelfetch.errors import UsageError
    from modelfetch.settings.locations import absolute, working_directory

    if text is None:
        return None
    if not text.strip():
        raise UsageError(f"{option} is empty", hint="Give the path of a file.")
    return absolute(Path(text), working_directory())


def _report(done: Published, *, dry_run: bool) -> None:
    from modelfetch.model.units import format_size

    for notice in done.notices:
        say(f"note: {notice}")
    for car in (done.car, done.skeleton):
        if car is not None:
            say(f"{'wrote' if car.is_new else 'already there:'} {car.path} ({format_size(car.size)})")
    if done.manifest is not None:
        if dry_run:
            say(f"would write the CIDs into {done.manifest}")
        else:
            verb = "wrote the CIDs into" if done.is_changed else "the CIDs are already in"
            say(f"{verb} {done.manifest}")


def _document(selected: Selected, done: Published, wanted: Wanted) -> dict[str, Any]:
    manifest, tree = selected.manifest, done.tree
    return {
        "model": manifest.name,
        "version": manifest.version,
        "identity": manifest.identity,
        "cid": tree.root.text,
        "profile": tree.profile.name,
        "size": tree.size,
        "files": [
            {
                "path": file.path,
                "size": file.placed.spec.size,
                "sha256": file.placed.spec.sha256,
                "cid": file.tree.root.text,
            }
            for file in tree.files
        ],
        "manifest": str(done.manifest) if done.manifest else None,
        "written": done.is_changed,
        "car": _car_document(done.car),
        "skeleton": _car_document(done.skeleton),
        "targets": [
            {
                "kind": each.target.kind.value,
                "host": each.target.host,
                "state": each.state,
                "sent": each.sent,
                "skipped": each.skipped,
                "request": each.request or None,
            }
            for each in done.outcomes
        ],
        "notices": done.notices,
        "dry_run": wanted.dry_run,
    }


def _car_document(car: WrittenCar | None) -> dict[str, Any] | None:
    return None if car is None else {"path": str(car.path), "size": car.size, "written": car.is_new}
