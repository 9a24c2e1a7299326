"""What both kinds of ``bundle push`` share: connections with a line of progress, and what is said of a model.

A registry (:mod:`modelfetch.cli.bundle_push`) and a bucket (:mod:`modelfetch.cli.bucket_push`) differ in
where a model goes and in what names it there; of its files the same is said::

    pushed: onnx/model.onnx (82.5 MB)
    pushed whisper-base 1846881b6b3a to s3://models/lab: 82.5 MB; 0 B already there
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from modelfetch.bundle.blob_upload import Watch
    from modelfetch.bundle.push import PushedBlob, PushedModel
    from modelfetch.cli.pinning import ProgressLine
    from modelfetch.net.hub_client import HubClient
    from modelfetch.workspace import Workspace


class Connections(NamedTuple):
    """What a push works with."""

    hub: HubClient
    watch: Watch
    """Shows which file is under way."""
    line: ProgressLine

    def report(self, each: PushedBlob) -> None:
        """Say what became of a file."""
        self.line.say(_blob_line(each))


@contextmanager
def connections(workspace: Workspace, *, quiet: bool) -> Iterator[Connections]:
    """Open connections, and close them at the end of the block; says so when it is cancelled."""
    from modelfetch.bundle.blob_upload import Watch
    from modelfetch.cancel import Cancellation
    from modelfetch.cli.pinning import ProgressLine
    from modelfetch.net.hub_client import HubClient

    line = ProgressLine(quiet=quiet)
    hub = HubClient.of_settings(workspace.loaded.settings, Cancellation(), waiting=line.say)
    watch = Watch(lambda path, done, size: line.show("pushing", path, done, size), line.say)
    try:
        yield Connections(hub, watch, line)
    except KeyboardInterrupt:
        line.say("cancelled; run the command again to continue")
        raise
    finally:
        line.clear()
        hub.client.close()


def recorded(workspace: Workspace, model: PushedModel, *, dry_run: bool) -> AbstractContextManager[object]:
    """Record the push of a model in the history, whether it completes or fails."""
    from modelfetch.publish.publication_record import recorded as recorded_run

    return recorded_run(workspace.history(), model.manifest, "bundle push", dry_run=dry_run)


def summary(model: PushedModel, blobs: Sequence[PushedBlob], where: str, *, dry_run: bool) -> str:
    """What became of a model, for the user."""
    from modelfetch.bundle.push import total
    from modelfetch.model.units import format_size

    moved = total(blobs, "missing") if dry_run else sum(each.sent for each in blobs)
    verb, there = "would push" if dry_run else "pushed", format_size(total(blobs, "present"))
    name = f"{model.manifest.name} {model.manifest.version}"
    return f"{verb} {name} to {where}: {format_size(moved)}; {there} already there"


def document(model: PushedModel, blobs: Sequence[PushedBlob], place: dict[str, Any]) -> dict[str, Any]:
    """What became of a model, as JSON; ``place`` is what names it where it is now."""
    return {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "identity": model.manifest.identity,
        **place,
        "size": sum(each.blob.size for each in blobs),
        "sent": sum(each.sent for each in blobs),
        "blobs": [_blob_document(each) for each in blobs],
    }


def _blob_line(each: PushedBlob) -> str:
    from modelfetch.model.units import format_size

    words = {"present": "already there", "pushed": "pushed", "missing": "would push"}
    earlier = f", {format_size(each.continued_at)} of it earlier" if each.continued_at else ""
    return f"{words[each.state]}: {each.blob.path} ({format_size(each.blob.size)}{earlier})"


def _blob_document(each: PushedBlob) -> dict[str, Any]:
    return {
        "path": each.blob.path,
        "digest": f"sha256:{each.blob.sha256}",
        "size": each.blob.size,
        "state": each.state,
        "sent": each.sent,
        "continued_at": each.continued_at,
    }
