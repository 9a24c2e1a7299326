"""``publish``: puts a model on IPFS, or prepares that.

stdout gets the reference of the directory, stderr a line for each target and file written::

    $ modelfetch publish my-model --to kubo
    published to 127.0.0.1:5001 (209 MB sent)
    wrote the CIDs into /home/me/.config/modelfetch/catalog/my-model.toml
    ipfs:bafybei...

Tokens come from the environment alone (:mod:`modelfetch.publish.targets`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
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
    from modelfetch.publish.publication import Publication, Published, PublishRequest
    from modelfetch.publish.selection import Selected
    from modelfetch.publish.tree_hashing import HashingPool
    from modelfetch.workspace import Workspace


def _complete_target(incomplete: str) -> Iterator[str]:
    yield from (name for name in ("kubo", "pinata") if name.startswith(incomplete))


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
        help="Where to send it: kubo, kubo=URL, pinata, or the URL of a pinning service (repeatable).",
        autocompletion=_complete_target,
        show_default=False,
    ),
]
Car = Annotated[
    str | None,
    typer.Option(
        "--car",
        metavar="FILE",
        help="Write the model to this CAR file, which IPFS tools import.",
        show_default=False,
    ),
]
Skeleton = Annotated[
    str | None,
    typer.Option(
        "--skeleton",
        metavar="FILE",
        help="Write the digests of all chunks to this CAR file: beside the manifest, it proves each MiB.",
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

    Computes the CIDs of all files and of their directory: names that follow from the bytes. Sends the model
    to each target, and writes the CIDs into the manifest. Without --to, nothing is sent. Prints the reference
    of the directory: ipfs:CID. Run it again to continue. Tokens are read from the environment alone:
    KUBO_API_TOKEN, PINATA_JWT, IPFS_PINNING_TOKEN.
    """
    from modelfetch.ipfs.profiles import PROFILES
    from modelfetch.publish.publication import PublishRequest
    from modelfetch.publish.targets import parse_targets
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    targets = parse_targets(to or [], os.environ)
    if targets:
        _check_online(workspace, targets[0].host, offline=offline)
    request = PublishRequest(
        PROFILES[profile],
        timeout,
        targets,
        car=_path(car, "--car"),
        skeleton=_path(skeleton, "--skeleton"),
        manifest=_path(manifest, "--manifest"),
        dry_run=dry_run,
    )
    is_silent = quiet or json
    if not is_silent:
        notes(workspace)
    with _line(quiet=is_silent) as line:
        selected, done = _publish(workspace, what, request, line)
    if json:
        print_json(_document(selected, done, request))
        return
    if not quiet:
        _report(done, request)
    print_line(f"ipfs:{done.tree.root.text}")


def _publish(
    workspace: Workspace, what: str, request: PublishRequest, line: ProgressLine
) -> tuple[Selected, Published]:
    from modelfetch.publish.known_trees import keep_maps
    from modelfetch.publish.publication import Publication
    from modelfetch.publish.publication_record import recorded
    from modelfetch.publish.tree_hashing import HashingPool

    with HashingPool() as pool:
        selected, known = _select(workspace, what, request, pool, line)
        publication = Publication(selected, request, pool, line.show, line.say)
        publication.check()
        with recorded(workspace.history(), selected.manifest, dry_run=request.dry_run) as published:
            done = publication.hash(known)
            if not (selected.is_directory or request.dry_run):
                keep_maps(workspace.store, done.tree)  # for verify, and for later runs of this command
            publication.write_cars(done)
            _hand_over(workspace, publication, done, request, line)
            publication.write_manifest(done)
            published.append(done.tree)
    return selected, done


def _select(
    workspace: Workspace, what: str, request: PublishRequest, pool: HashingPool, line: ProgressLine
) -> tuple[Selected, Mapping[str, Built]]:
    """Select the model; a directory is pinned, and read for that."""
    from modelfetch.cli.pinning import session_for
    from modelfetch.publish import selection
    from modelfetch.publish.known_trees import known_trees

    if not selection.is_directory(workspace, what):
        found = selection.model(workspace, what)
        return found, known_trees(workspace.store, found.manifest, request.profile)
    digests = selection.TreeDigests(request.profile, pool, line)
    with session_for(workspace, offline=True, quiet=True, keep=False) as session:
        selected = selection.directory(session, what, digests, dry_run=request.dry_run)
    if selected.is_new:
        name = f"{selected.manifest.name} {selected.manifest.version}"
        line.say(f"{'would pin' if request.dry_run else 'pinned'} {what} as {name} in {selected.path}")
        if selected.listed_in is not None:
            verb = "would add" if request.dry_run else "added"
            line.say(f"{verb} {selected.manifest.name} to models in {selected.listed_in}")
    return selected, digests.trees


def _hand_over(
    workspace: Workspace,
    publication: Publication,
    done: Published,
    request: PublishRequest,
    line: ProgressLine,
) -> None:
    if not request.targets:
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
    return None if text is None else options.given_path(text, option, "Give the path of a file.")


def _report(done: Published, request: PublishRequest) -> None:
    from modelfetch.model.units import format_size

    for notice in done.notices:
        say(f"note: {notice}")
    for car in (done.car, done.skeleton):
        if car is not None:
            say(f"{'wrote' if car.is_new else 'already there:'} {car.path} ({format_size(car.size)})")
    for path in done.planned:
        say(f"would write {path}")
    if done.manifest is not None:
        is_planned = request.dry_run and not done.has_cids
        verb = "would write the CIDs into" if is_planned else "the CIDs are already in"
        say(f"{'wrote the CIDs into' if done.is_changed else verb} {done.manifest}")
    if not (request.targets or request.dry_run or request.car or request.skeleton):
        say("nothing was sent: --to kubo, --to pinata or --to URL publishes the model")


def _document(selected: Selected, done: Published, request: PublishRequest) -> dict[str, Any]:
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
        "dry_run": request.dry_run,
    }


def _car_document(car: WrittenCar | None) -> dict[str, Any] | None:
    return None if car is None else {"path": str(car.path), "size": car.size, "written": car.is_new}
