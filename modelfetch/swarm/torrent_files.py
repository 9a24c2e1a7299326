"""The torrent file of a model, beside its manifest: ``whisper-base.torrent`` beside ``whisper-base.toml``.

It is a hint, as everything of a swarm. One that is missing, damaged, incomplete, or of other files has no
effect: then peers are asked for the info dictionary.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.model.regular_file import read_regular
from modelfetch.model.text import sanitize
from modelfetch.swarm.metainfo import METAINFO_LIMIT, Metainfo, parse

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest


def read_torrent(manifest: Manifest, notify: Callable[[str], None]) -> Metainfo | None:
    """Read the torrent file of a model, if it is the one that the manifest names, complete, and fits it.

    Args:
        manifest: The model.
        notify: Receives a line for the user about a file that is there and cannot be used.
    """
    if manifest.swarm is None or manifest.torrent is None:
        return None
    try:
        metainfo = parse(read_regular(Path(manifest.torrent), METAINFO_LIMIT + 1))
        check_fit(metainfo, manifest)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
    else:
        if metainfo.has_layers:
            return metainfo
        why = "it has no piece layers"
    notify(f"{manifest.name}: {sanitize(manifest.torrent)} is not used: {sanitize(why)}")
    return None


def check_fit(metainfo: Metainfo, manifest: Manifest) -> None:
    """Check that a torrent is that of a model.

    The infohash, and the path and size of every file are compared. The hashes of the torrent vouch for
    nothing: they only say which bytes to ask peers for.

    Raises:
        ValueError: It is not; the message says why.
    """
    if manifest.swarm is None or metainfo.infohash != manifest.swarm.infohash:
        raise ValueError("it has another infohash than the manifest")
    if mismatches := metainfo.mismatches(manifest):
        raise ValueError("; ".join(mismatches))
