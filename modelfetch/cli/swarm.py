"""``swarm``: publish the torrent of a model, by which machines that have it send it to each other.

stdout gets the magnet link, stderr what was written::

    $ modelfetch swarm publish whisper-base
    wrote /home/me/.config/modelfetch/catalog/whisper-base.torrent
    wrote the infohash 3f0e...c4b3 into /home/me/.config/modelfetch/catalog/whisper-base.toml
    magnet:?xt=urn:btmh:12203f0e...c4b3&dn=whisper-base-1846881b6b3a
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfetch.cli import options
from modelfetch.cli.help import Commands, epilog
from modelfetch.cli.output import notes, print_json, print_line, say

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.publish.swarm_publication import PublishedTorrent

app = typer.Typer(
    name="swarm",
    cls=Commands,
    help="Publish models for machines that send them to each other.",
    epilog=epilog("swarm"),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A model that is present.",
        autocompletion=options.complete_model,
        show_default=False,
    ),
]
Trackers = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        metavar="URL",
        help="Tracker that the manifest names: http, https or udp (repeatable). Default: those it names.",
        show_default=False,
    ),
]


@app.command("publish", epilog=epilog("swarm publish"))
def publish(
    name: Name,
    tracker: Trackers = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Write the torrent of a model beside its manifest.

    Hashes the model's files, writes NAME.torrent beside the manifest and the infohash into it, and prints the
    magnet link. Both follow from the files alone: whoever publishes the same model gets the same torrent.
    Nothing is sent: `ensure --swarm` and `serve --swarm` exchange the files. A built-in model is copied into
    your catalog first.
    """
    from modelfetch.cli.pinning import ProgressLine
    from modelfetch.publish.publication_record import recorded
    from modelfetch.publish.selection import model
    from modelfetch.publish.swarm_publication import publish_torrent
    from modelfetch.workspace import Workspace

    trackers = None if tracker is None else _checked(tracker)
    workspace = Workspace.open({"cache_dir": cache_dir})
    if not (quiet or json):
        notes(workspace)
    selected = model(workspace, name)
    line = ProgressLine(quiet=quiet or json)
    try:
        with recorded(workspace.history(), selected.manifest, "swarm publish", dry_run=dry_run):
            done = publish_torrent(
                workspace,
                selected,
                trackers,
                lambda path, at, size: line.show("hashing", path, at, size),
                dry_run=dry_run,
            )
    finally:
        line.clear()
    if json:
        print_json(_document(selected.manifest, done, dry_run=dry_run))
        return
    if not quiet:
        _report(done, dry_run=dry_run)
    print_line(done.magnet)


def _checked(trackers: list[str]) -> list[str]:
    from modelfetch.errors import UsageError
    from modelfetch.model.addresses import why_bad_tracker
    from modelfetch.model.text import quote
    from modelfetch.settings import redact

    for tracker in trackers:
        if clause := why_bad_tracker(tracker):
            raise UsageError(f"--tracker: {quote(redact(tracker))} {clause}", hint="Such as udp://host:6969.")
    return [*dict.fromkeys(trackers)]


def _report(done: PublishedTorrent, *, dry_run: bool) -> None:
    for notice in done.notices:
        say(f"note: {notice}")
    verb = "would write" if dry_run else "wrote"
    say(f"{verb if done.is_torrent_changed else 'already there:'} {done.torrent}")
    words = f"the infohash {done.metainfo.infohash}"
    if done.is_manifest_changed:
        say(f"{verb} {words} into {done.manifest}")
    else:
        say(f"{words} is already in {done.manifest}")


def _document(manifest: Manifest, done: PublishedTorrent, *, dry_run: bool) -> dict[str, Any]:
    roots = {file.path: file.root.hex() or None for file in done.metainfo.files}
    return {
        "model": manifest.name,
        "version": manifest.version,
        "identity": manifest.identity,
        "infohash": done.metainfo.infohash,
        "magnet": done.magnet,
        "trackers": list(done.trackers),
        "piece_length": done.metainfo.piece_length,
        "pieces": done.metainfo.pieces,
        "size": manifest.size,
        "files": [
            {
                "path": file.path,
                "size": file.size,
                "sha256": file.sha256,
                "pieces_root": roots[file.path],
            }
            for file in manifest.files
        ],
        "torrent": str(done.torrent),
        "manifest": str(done.manifest),
        "written": not dry_run and (done.is_torrent_changed or done.is_manifest_changed),
        "notices": list(done.notices),
        "dry_run": dry_run,
    }
