"""Publishes the torrent of a model: hashes its files, and writes ``<name>.torrent`` and ``[swarm]``.

Nothing is sent: machines that have the model upload it once they know the torrent. The torrent file is
written first, so that a manifest never names a torrent that was not written. A built-in model has no manifest
that could be changed: it gets a copy in the user's catalog.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.catalog.lookup import TORRENT_SUFFIX
from modelfetch.errors import StoreError, UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.manifest import SwarmTorrent
from modelfetch.model.parse import BYTES_LIMIT, TRACKERS_LIMIT, load_manifest
from modelfetch.model.regular_file import read_regular
from modelfetch.model.text import sanitize
from modelfetch.pins.catalogs import user_catalog, write_pin
from modelfetch.pins.rewrite import replace_unchanged, rewritten
from modelfetch.publish.publication_record import check_writable
from modelfetch.settings.replace_file import PUBLIC, replace_file
from modelfetch.swarm.metainfo import METAINFO_LIMIT, Metainfo, parse, torrent_name
from modelfetch.swarm.model_hashes import hash_model

if TYPE_CHECKING:
    from modelfetch.publish.selection import Selected
    from modelfetch.swarm.model_hashes import Progress
    from modelfetch.workspace import Workspace

_ELSEWHERE: Final = "Correct its permissions, or copy the manifest into a catalog of MODELFETCH_CATALOG."


@dataclass(frozen=True, slots=True)
class PublishedTorrent:
    """What became of a model."""

    metainfo: Metainfo
    magnet: str
    """The magnet link."""
    trackers: tuple[str, ...]
    torrent: Path
    manifest: Path
    is_torrent_changed: bool
    """Whether the torrent file was written; in a dry run, whether it would be."""
    is_manifest_changed: bool
    notices: tuple[str, ...] = ()


def publish_torrent(
    workspace: Workspace,
    selected: Selected,
    trackers: Sequence[str] | None,
    show: Progress,
    *,
    dry_run: bool,
) -> PublishedTorrent:
    """Hash a model, and write its torrent.

    Args:
        workspace: Settings, catalogs and cache.
        selected: The model, which is present.
        trackers: What the manifest is to name; None keeps what it names.
        show: Called while a file is read.
        dry_run: Whether nothing is written.

    Raises:
        IntegrityError: A file does not have the bytes that are pinned.
        StoreError: The disk refused.
        UsageError: Something else has the name of the torrent file, or the manifest cannot be edited.
    """
    manifest = selected.manifest
    path = selected.path or user_catalog(workspace) / f"{manifest.name}.toml"
    torrent = path.with_name(manifest.name + TORRENT_SUFFIX)
    before = _torrent_before(torrent)
    if not dry_run:
        check_writable(path, _ELSEWHERE)
    if trackers is None:
        trackers = manifest.swarm.trackers if manifest.swarm else ()
    if len(trackers) > TRACKERS_LIMIT:
        raise UsageError(f"at most {TRACKERS_LIMIT} trackers can be named", hint="Name those that are near.")
    metainfo = hash_model(manifest, {file.spec.path: file.place for file in selected.files}, show)
    data = metainfo.encode(trackers)
    swarm = SwarmTorrent(metainfo.infohash, tuple(trackers))
    notices: list[str] = []
    if not dry_run:
        if data != before:
            _write(torrent, data)
        notices += _write_manifest(selected, path, swarm)
    return PublishedTorrent(
        metainfo=metainfo,
        magnet=metainfo.magnet(torrent_name(manifest), trackers),
        trackers=tuple(trackers),
        torrent=torrent,
        manifest=path,
        is_torrent_changed=data != before,
        is_manifest_changed=swarm != manifest.swarm,
        notices=tuple(notices),
    )


def _torrent_before(path: Path) -> bytes | None:
    """Return the torrent file that is there; None without one.

    Raises:
        UsageError: Something else has its name.
        StoreError: It cannot be read.
    """
    where = sanitize(str(path))
    try:
        data = read_regular(path, METAINFO_LIMIT + 1)
        parse(data)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot read {where}: {error.strerror}", hint="Correct its permissions.") from error
    except ValueError as error:
        raise UsageError(
            f"{where} exists already, and is no torrent of version 2", hint="Move it."
        ) from error
    return data


def _write(path: Path, data: bytes) -> None:
    try:
        replace_file(path, data, mode=PUBLIC)
    except OSError as error:
        raise StoreError(f"cannot write {sanitize(str(path))}: {error.strerror}") from error


def _write_manifest(selected: Selected, path: Path, swarm: SwarmTorrent) -> list[str]:
    """Write the manifest with its swarm; returns notices for the user."""
    manifest = selected.manifest
    if selected.path is None:
        write_pin(replace(manifest, swarm=swarm), path.parent)
        return [f"{manifest.name} is in your catalog now, and no longer follows the built-in manifest"]
    try:
        content = read_regular(path, BYTES_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {sanitize(str(path))}: {error}") from error
    current = load_manifest(path, content)
    if current.identity != manifest.identity:
        raise UsageError(f"{sanitize(str(path))} was changed meanwhile", hint="Run the command again.")
    after, notices = rewritten(path, content, replace(current, swarm=swarm))
    if after != content:
        replace_unchanged(path, content, after)
    return notices
