"""What a session looks up before it asks the engine: the torrent of a file, and the addresses of peers.

``<name>.torrent`` beside the manifest (:mod:`modelfetch.swarm.torrent_files`) is read at once. Without it,
peers send the info dictionary. Either must have the infohash of the manifest, and its paths and sizes; else
the model is fetched without the swarm.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.model.text import sanitize
from modelfetch.net.responses import ALLOW_HOST, UNKNOWN_NAME
from modelfetch.settings import redact
from modelfetch.swarm.metainfo import parse_info
from modelfetch.swarm.torrent_files import check_fit

if TYPE_CHECKING:
    from modelfetch.engine.plan import Job
    from modelfetch.model.manifest import Manifest
    from modelfetch.swarm.engine import EngineError
    from modelfetch.swarm.metainfo import Metainfo

Notify = Callable[[str], None]
"""Receives a line for the user."""


def place_in_swarm(job: Job) -> tuple[Manifest, str] | None:
    """Return the first model with a torrent among those that need a file, and the path of the file in it."""
    places = ((manifest, file.path) for manifest, file in job.places if manifest.swarm is not None)
    return next(places, None) if job.file.size else None


def report_without_torrent(jobs: Iterable[Job], notify: Notify) -> None:
    """Report the models that have no torrent, or not its file, without which a swarm cannot begin."""
    models = {manifest.name: manifest for job in jobs for manifest, _ in job.places}
    for name, manifest in sorted(models.items()):
        if manifest.swarm is None:
            notify(f"{name} has no swarm; `modelfetch swarm publish {name}` makes its torrent")
        # Not by pathlib, which raises an error for what it may not look at, as a link of a project may name.
        elif manifest.torrent is None or not os.path.exists(manifest.torrent):  # noqa: PTH110
            notify(
                f"{name}.torrent is not beside its manifest; machines that all lack it each read the sources"
            )


def received_metainfo(manifest: Manifest, info: bytes, notify: Notify) -> Metainfo | None:
    """Read the info dictionary that peers have sent; None, with a notice, if it is not that of the model."""
    try:
        metainfo = parse_info(info)
        check_fit(metainfo, manifest)
    except ValueError as error:
        notify(f"{manifest.name}: no swarm: its torrent does not fit the manifest: {sanitize(str(error))}")
        return None
    return metainfo


def resolved(peers: Sequence[str], notify: Notify) -> tuple[str, ...]:
    """Return the addresses of machines, ``HOST:PORT`` each; names that cannot be resolved are reported."""
    found: dict[str, None] = {}
    for peer in peers:
        host, _, port = peer.rpartition(":")
        try:
            rows = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except (OSError, ValueError):
            notify(f"{sanitize(peer)} of swarm.peers is left out: cannot resolve host")
            continue
        for family, _, _, _, address in rows:
            name = str(address[0])
            found[f"[{name}]:{port}" if family == socket.AF_INET6 else f"{name}:{port}"] = None
    return tuple(found)


_REFUSALS: Final = {
    "401": "access refused (401); does it run `modelfetch serve --share`, and is its path /announce?",
    "421": f"{UNKNOWN_NAME}; {ALLOW_HOST}",
}
"""What a server of modelfetch means by a status, as :mod:`modelfetch.sources.peer` says it of peers."""


class TrackerNotices:
    """Reports each tracker of the settings that does not answer, once: without it machines may not meet.

    Args:
        trackers: Their addresses. Those of manifests are not the user's to mend.
        notify: Receives the lines.
    """

    def __init__(self, trackers: Iterable[str], notify: Notify) -> None:
        self._left = set(trackers)
        self._notify = notify

    def note(self, error: EngineError) -> None:
        """Note an error of the engine, which may be that a tracker does not answer."""
        if error.tracker in self._left:
            self._left.discard(error.tracker)
            why = sanitize(error.message)
            why = _REFUSALS.get(why[:3], f"{why[:1].lower()}{why[1:]}")
            self._notify(f"tracker {redact(error.tracker)} is left out: {why}")
