"""Prove the cache of the Hugging Face libraries without a network: ``verify --hf``.

The name of each blob says what its bytes must be: 64 digits are their SHA-256, 40 digits are their git blob
id. Where the cache has links to the shared store of newer clients, the name of the link counts, as the names
in that store are other hashes. Findings are those of :mod:`modelfetch.engine.verify`:

    missing   a file of a snapshot is a link that leads nowhere, or the file cannot be read
    size      its length is not the one that the cached listing states
    hash      its bytes do not have the digest

The check is a stream of events like that of any other run, with the repository in place of the model.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import field, replace
from pathlib import Path
from typing import Final

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.engine.ensure import Failure, finished
from modelfetch.engine.events import (
    Event,
    FileResult,
    FileStarted,
    FileVerified,
    Planned,
    PlannedFile,
    Progress,
    RunStarted,
    SourceFailed,
)
from modelfetch.engine.progress import FileId, with_heartbeat
from modelfetch.engine.rate_limit import Ticker
from modelfetch.engine.verify import THREADS, Finding
from modelfetch.engine.workers import Task, merge
from modelfetch.errors import Fault, IntegrityError, UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.source_kinds import CACHE
from modelfetch.model.text import quote, sanitize
from modelfetch.pins.hf_cache_layout import (
    CachedRepository,
    Snapshot,
    SnapshotFile,
    did_you_mean_repository,
    hasher_for,
    is_digest,
    read_pieces,
)
from modelfetch.pins.local_model import real
from modelfetch.sources.hf_cache import SHA256, regular_inside

_LOST: Final = "leads nowhere or out of the cache, or cannot be read"


@dataclass(frozen=True, slots=True)
class Damage:
    """One file that is not right."""

    repository: str
    file: str
    finding: Finding
    path: Path
    """The file to delete: that with the wrong bytes, or the link that leads nowhere.

    In a cache with a shared store it is the file of that store and not the link to it, because
    huggingface_hub would link a new download to the same bytes: it compares their size only.
    """

    @property
    def why(self) -> str:
        """The finding in a few words, without digests."""
        fault = self.finding.fault
        return fault if fault is Fault.HASH else f"{fault} ({self.finding.reason})"


@dataclass(frozen=True, slots=True)
class _Item:
    """Bytes to check, and every file that they are: several if repositories share them."""

    path: Path
    found: os.stat_result | None
    """None for a link that leads nowhere."""
    digest: str
    """The digest that the bytes must have."""
    size: int | None
    """The size that they must have, if the cache states one."""
    lost: str = _LOST
    """Why there are none, if there are none."""
    names: list[FileId] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Checked:
    """The end of the check of one item."""

    item: _Item
    finding: Finding | None

    @property
    def model(self) -> str:
        """The model that the events of the check name."""
        return self.item.names[0][0]

    @property
    def file(self) -> str:
        """The path that the events of the check name."""
        return self.item.names[0][1]


class CacheCheck:
    """One check of some repositories.

    Args:
        repositories: What to check.
        cancel: Ends the check from another thread.

    Attributes:
        damaged: What was found, once the events have ended.
        unchecked: Number of files whose digest nothing in the cache states.
    """

    def __init__(self, repositories: Sequence[CachedRepository], cancel: Cancellation | None = None) -> None:
        self.damaged: list[Damage] = []
        self.unchecked = 0
        self._repositories = repositories
        self._cancel = cancel or Cancellation()
        self._items: dict[tuple[object, ...], _Item] = {}
        """By inode and digest: bytes that repositories share are read once."""
        self._results: dict[FileId, FileResult] = {}

    def events(self) -> Generator[Event, None, None]:
        """Check everything; the last event says whether all is right. Expected failures are never raised."""
        started = time.monotonic()
        yield RunStarted("verify", tuple(repository.name for repository in self._repositories))
        error: Failure | None = None
        try:
            for repository in self._repositories:
                self._cancel.raise_if_cancelled()
                yield self._plan(repository)
            yield from self._check_all()
            error = self._error()
        except Cancelled as cancelled:
            error = cancelled
        yield finished(error, list(self._results.values()), time.monotonic() - started)

    # What there is to check

    def _plan(self, repository: CachedRepository) -> Planned:
        """Collect the files of a repository."""
        files: list[PlannedFile] = []
        for label, item in self._collect(repository):
            name, size = (repository.name, label), _length(item)
            if name in self._results:  # several snapshots may have the same link that leads nowhere
                continue
            key = (label, item.digest) if item.found is None else _identity(item.found, item.digest)
            self._items.setdefault(key, item).names.append(name)
            # Replaced when the file was checked; files that a cancelled run did not reach keep it.
            self._results[name] = FileResult(*name, "cancelled", "cancelled", CACHE, size)
            sha256 = item.digest if SHA256.fullmatch(item.digest) else ""
            files.append(PlannedFile(label, size, sha256, "kept", size, ()))
        total = sum(file.size for file in files)
        return Planned(repository.name, "", "", "", "", "", str(repository.folder), total, 0, tuple(files))

    def _collect(self, repository: CachedRepository) -> Iterator[tuple[str, _Item]]:
        """Yield what there is to check, each with its name in messages."""
        labels, sizes = _Labels(), dict[str, int]()
        for path, reason in repository.unreadable():
            yield f"{path.name}/", _Item(path, None, "", None, f"cannot be read: {reason}")
        for snapshot in repository.snapshots():
            sizes |= {entry.digest: entry.size for entry in (snapshot.tree or {}).values()}
            for file in snapshot.files:
                yield from self._items_of(repository, snapshot, file, labels)
        for path in repository.blobs():
            found = regular_inside(repository.root, path)
            if found is not None:  # a blob that leads nowhere was found through its snapshots
                yield labels.of_blob(path.name), _Item(real(path), found, path.name, sizes.get(path.name))

    def _items_of(
        self, repository: CachedRepository, snapshot: Snapshot, file: SnapshotFile, labels: _Labels
    ) -> Iterator[tuple[str, _Item]]:
        """Yield what to check of a file of a snapshot: nothing if its blob is checked, or nothing can be."""
        entry = (snapshot.tree or {}).get(file.path)
        if file.status is None:
            yield labels.of(file, snapshot), _Item(file.location, None, file.blob, None)
        elif _is_own_blob(repository, file) and (entry is None or entry.digest == file.blob):
            labels.of(file, snapshot)  # its blob is checked under this name
        elif entry is not None:  # a file of its own, or a link to other bytes than the listing states
            label = labels.of(replace(file, blob=""), snapshot)
            yield label, _Item(file.location, file.status, entry.digest, entry.size)
        else:
            self.unchecked += 1

    # Checking

    def _check_all(self) -> Iterator[Event]:
        items = sorted(self._items.values(), key=lambda item: -_length(item))
        tasks = [_check_alone(item, self._cancel) for item in items]
        with closing(merge(tasks, THREADS, self._cancel)) as merged:
            for event in with_heartbeat(merged, time.monotonic, {}):
                if isinstance(event, _Checked):
                    yield from self._note(event)
                elif event is not None:
                    yield event

    def _note(self, checked: _Checked) -> Iterator[Event]:
        """Record the result of an item, for every file that it is."""
        finding, item = checked.finding, checked.item
        for name in item.names:
            size = _length(item)
            if finding is None:
                self._results[name] = FileResult(*name, "completed", "", CACHE, size)
                yield FileVerified(*name, size, item.digest if SHA256.fullmatch(item.digest) else "")
            else:
                self._results[name] = FileResult(*name, "failed", finding.fault, CACHE, size)
                self.damaged.append(Damage(*name, finding, item.path))
                yield SourceFailed(*name, CACHE, "", finding.fault, finding.reason, "", 0, "", "")

    def _error(self) -> IntegrityError | None:
        if not self.damaged:
            return None
        self.damaged.sort(key=lambda damage: (damage.repository, damage.file))
        first = self.damaged[0]
        return IntegrityError(
            f"{len(self.damaged)} of {len(self._results)} files of the Hugging Face cache are not right: "
            f"{first.repository}: {first.file}: {first.finding}",
            hint="Delete the damaged files, then fetch their repositories again with `hf download`.",
        )


class _Labels:
    """Names of the files of one repository in messages: the path, with the commit where two share a path."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        """What has the name: a blob, or a file of a snapshot."""
        self._blobs: dict[str, str] = {}

    def of(self, file: SnapshotFile, snapshot: Snapshot) -> str:
        """Return the name of a file of a snapshot; a blob keeps the first one that it got."""
        key = file.blob or str(file.location)
        is_free = self._keys.setdefault(file.path, key) == key
        label = file.path if is_free else f"{file.path} @ {snapshot.commit[:7]}"
        return self._blobs.setdefault(key, label)

    def of_blob(self, name: str) -> str:
        """Return the name of a blob; one that no snapshot uses has its own."""
        return self._blobs.get(name, f"blobs/{name}")


def _is_own_blob(repository: CachedRepository, file: SnapshotFile) -> bool:
    """Whether a file is a link to the blob of its repository whose name is a digest.

    By inode: a link may lead to a file of that name elsewhere, which is not checked as a blob.
    """
    if file.status is None or not is_digest(file.blob):
        return False
    found = regular_inside(repository.root, repository.folder / "blobs" / file.blob)
    return found is not None and os.path.samestat(found, file.status)


def _identity(found: os.stat_result, digest: str) -> tuple[object, ...]:
    return found.st_dev, found.st_ino, digest


def _length(item: _Item) -> int:
    return 0 if item.found is None else item.found.st_size


def _check_alone(item: _Item, cancel: Cancellation) -> Generator[Event | _Checked, None, None]:
    """Check one item as a task of its own."""
    finding = yield from _check(item, cancel)
    yield _Checked(item, finding)


def _check(item: _Item, cancel: Cancellation) -> Task[Finding | None]:
    if item.found is None:
        return Finding(Fault.MISSING, item.lost)
    size = item.found.st_size
    if item.size not in (None, size):
        return Finding(Fault.SIZE, f"has {size} bytes instead of {item.size}")
    yield FileStarted(*item.names[0], size, 0)
    try:
        actual = yield from _hash(item, cancel)
    except OSError as error:
        return Finding(Fault.MISSING, f"cannot be read: {(error.strerror or 'unknown').lower()}")
    if actual == item.digest:
        return None
    kind = "SHA-256" if SHA256.fullmatch(item.digest) else "git blob id"
    return Finding(Fault.HASH, f"has {kind} {actual} instead of {item.digest}")


def _hash(item: _Item, cancel: Cancellation) -> Task[str]:
    hasher, done, ticker = hasher_for(item.digest, _length(item)), 0, Ticker(time.monotonic)
    for piece in read_pieces(item.path, cancel.raise_if_cancelled):
        hasher.update(piece)
        done += len(piece)
        if ticker.due():
            yield Progress(*item.names[0], CACHE, "", 1, done, _length(item))
    return str(hasher.hexdigest())


def choose(
    repositories: Sequence[CachedRepository], names: Sequence[str], root: Path
) -> list[CachedRepository]:
    """Return the named repositories, or all of them without a name.

    Args:
        repositories: Those in the cache.
        names: ``org/name``, ``datasets/org/name`` or ``spaces/org/name``, also with ``hf:`` before it, or as
            ``hf cache ls`` prints them: ``model/org/name``, ``dataset/org/name``, ``space/org/name``.
        root: The directory of the cache, for the message.

    Raises:
        UsageError: The cache has no repository of a name.
    """
    if not names:
        return list(repositories)
    known = {repository.name: repository for repository in repositories}
    chosen = dict[str, CachedRepository]()
    for name in names:
        bare = name.removeprefix("hf:")
        found = known.get(bare) or known.get(_with_plural(bare))
        if found is None:
            raise UsageError(
                f"the Hugging Face cache {sanitize(str(root))} has no repository "
                f"{quote(bare)}.{did_you_mean_repository(_with_plural(bare), repositories)}",
                hint="`hf cache ls` lists its repositories; HF_HUB_CACHE names another cache.",
            )
        chosen[found.name] = found
    return list(chosen.values())


def _with_plural(name: str) -> str:
    """Return a name that starts with a type in the form of :attr:`.CachedRepository.name`."""
    kind, _, rest = name.partition("/")
    forms = {"model": rest, "models": rest, "dataset": f"datasets/{rest}", "space": f"spaces/{rest}"}
    return forms.get(kind, name)
