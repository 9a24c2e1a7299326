"""Which pinned models a request can name: by repository of Hugging Face, by name in a registry, by file.

A model is served only to clients that name it. There is no list of all models. Names are looked up in tables
that are made of the manifests; no part of a request ever becomes a path on the disk::

    onnx-community/whisper-base @ main    the repository that a manifest pins, at its commit
    whisper-base @ 1846881b6b3a           a model under its own name, at its version
    models/whisper-base : latest          the repository of a registry that a manifest names
    ghcr.io/models/whisper-base : v1      the same with its registry: the tag that it was pinned from, too

Several manifests may pin one repository, with different files or at different commits. ``main`` is then the
commit of the model that was fetched last, else of the one that was added last.

With ``serve --pin-on-demand`` a client can have any revision pinned, also that of a pull request, which
anyone can open. Such a pin is found by the revision that the client named, and by its commit. It never
decides what ``main`` is for others, also when the server runs without that option later: its name tells.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import FileSpec, Manifest, RepoType
from modelfetch.share.on_demand import (
    LATEST,
    MAIN,
    is_clients_choice,
    is_pinned_on_demand,
    place_of,
    upstream_revision,
    upstream_tag,
)

COMMIT_LENGTH: Final = 40
"""Hexadecimal digits of a commit."""

_SHORT_COMMIT: Final = re.compile(r"[0-9a-f]{7,39}")
"""An abbreviated commit: at least as many digits as git shows."""

FetchedAt = Callable[[Manifest], datetime | None]
"""When a model was fetched; None if it has no receipt."""


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A file, and the manifest that pins it."""

    manifest: Manifest
    file: FileSpec


class Snapshot:
    """The files of a repository at one commit, as far as manifests pin them.

    Args:
        commit: 40 hexadecimal digits.
        manifests: Those that pin it, the most trusted first.
        fetched_at: When a model was fetched.
        own_paths: Whether files have their paths in the model, and not those in the repository.
    """

    def __init__(
        self, commit: str, manifests: Sequence[Manifest], fetched_at: FetchedAt, *, own_paths: bool
    ) -> None:
        self.commit: Final = commit
        self.manifests: Final = tuple(manifests)
        self._fetched_at = fetched_at
        self._own_paths = own_paths
        self._files: dict[str, PinnedFile] | None = None
        self._listing: tuple[tuple[Manifest, ...], Mapping[str, PinnedFile]] = ((), {})
        """The latest listing, and the manifests it was made of: sorting 20,000 files takes 30 ms."""

    def file(self, path: str) -> PinnedFile | None:
        """Find a file by its path in the repository; None if no manifest pins it."""
        if self._files is None:
            self._files = self._all_paths()
        return self._files.get(path)

    def listing(self, *, absent: bool) -> Mapping[str, PinnedFile]:
        """Return the files of the repository, by path.

        Args:
            absent: Whether those of models that are not in the cache are listed, because they can be
                fetched. Without it a client that fetches all files gets an error for the first one that is
                missing. If no model is in the cache, all are listed in any case.
        """
        present = tuple(each for each in self.manifests if self._fetched_at(each) is not None)
        listed = self.manifests if absent or not present else present
        known, files = self._listing  # threads may make the same one twice
        if len(known) != len(listed) or any(map(operator.is_not, known, listed)):
            files = self._paths(listed)
            self._listing = listed, files
        return files

    def _paths(self, manifests: Iterable[Manifest]) -> dict[str, PinnedFile]:
        found: dict[str, PinnedFile] = {}
        for manifest in manifests:
            for file in manifest.files:
                found.setdefault(self._path(file), PinnedFile(manifest, file))
        return dict(sorted(found.items()))

    def _all_paths(self) -> dict[str, PinnedFile]:
        """Return all paths that files are found by; models in the cache come first."""
        ranked = sorted(self.manifests, key=lambda each: self._fetched_at(each) is None)
        found = self._paths(ranked) if self._agree() else self._paths(self.manifests)
        if self._own_paths:  # clients know a file by its path in the repository, too
            for manifest in self.manifests:
                for file in manifest.files:
                    found.setdefault(_hub_path(file), PinnedFile(manifest, file))
        return found

    def _agree(self) -> bool:
        """Whether all manifests give each path the same bytes."""
        digests: dict[str, str] = {}
        return all(
            digests.setdefault(self._path(file), file.sha256) == file.sha256
            for manifest in self.manifests
            for file in manifest.files
        )

    def _path(self, file: FileSpec) -> str:
        return file.path if self._own_paths else _hub_path(file)


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A repository in the shape of Hugging Face."""

    name: str
    """``owner/name``, or the name of a model."""
    type: RepoType
    snapshots: tuple[Snapshot, ...]
    names: Mapping[str, tuple[Snapshot, ...]]
    """Branches, tags and versions."""
    fetched_at: FetchedAt

    def resolve(self, revision: str) -> Snapshot | None:
        """Find a commit by branch, tag, version, full or abbreviated commit; None if it is not pinned."""
        for snapshot in self.snapshots:
            if snapshot.commit == revision:
                return snapshot
        if revision in self.names:
            return self._preferred(self.names[revision])
        # Of a name that a manifest does not state, only the operator's pins decide what it means.
        own = [each for each in self.snapshots if not all(map(is_clients_choice, each.manifests))]
        if revision == MAIN:
            return self._preferred(own) if own else None
        if not _SHORT_COMMIT.fullmatch(revision):
            return None
        found = [each for each in own if each.commit.startswith(revision)]
        return found[0] if len(found) == 1 else None

    def _preferred(self, snapshots: Sequence[Snapshot]) -> Snapshot:
        """Return the snapshot that was fetched last, else the one that was added last, else the first."""
        if len(snapshots) == 1:  # nearly always: nothing is read then
            return snapshots[0]
        manifests = [(each, snapshot) for snapshot in snapshots for each in snapshot.manifests]
        fetched = [(self.fetched_at(each), snapshot) for each, snapshot in manifests]
        times = [(at, snapshot) for at, snapshot in fetched if at is not None]
        if times:
            return max(times, key=lambda item: item[0])[1]
        return max(manifests, key=lambda item: item[0].upstream.added if item[0].upstream else "")[1]


@dataclass(frozen=True, slots=True)
class RegistryRepo:
    """A repository in the shape of a registry."""

    name: str
    manifests: tuple[Manifest, ...]
    """Its models, the most trusted first."""
    fetched_at: FetchedAt
    is_upstream: bool = False
    """Whether a client named the registry, too. Then a tag is first of all the one that a model was pinned
    from. What clients had pinned is found by the tag that they named, and by no other one."""

    def tags(self) -> Mapping[str, Manifest]:
        """Return the models by tag: the version of each, and ``latest``."""
        if not self.is_upstream:
            by_version = _first_of_each((each.version, each) for each in self.manifests)
            return by_version | {LATEST: max(self.manifests, key=self._rank)}
        own = [each for each in self.manifests if not is_pinned_on_demand(each)]
        pinned_from = [(upstream_tag(each), each) for each in own]
        versions = [(each.version, each) for each in own]
        of_clients = [(upstream_tag(each), each) for each in self.manifests if is_pinned_on_demand(each)]
        latest = [(LATEST, max(own, key=self._rank))] if own else []
        return _first_of_each([*pinned_from, *versions, *of_clients, *latest])

    def _rank(self, manifest: Manifest) -> tuple[bool, float, str]:
        at = self.fetched_at(manifest)
        added = manifest.upstream.added if manifest.upstream else ""
        return at is not None, at.timestamp() if at is not None else 0.0, added


class ModelIndex:
    """The tables of one state of the catalogs.

    Args:
        manifests: All models, the most trusted first.
        fetched_at: When a model was fetched.
    """

    def __init__(self, manifests: Sequence[Manifest], fetched_at: FetchedAt) -> None:
        self.manifests: Final = tuple(manifests)
        self._fetched_at = fetched_at
        self._pinned: dict[tuple[RepoType, str], list[Manifest]] = {}
        self._named: dict[str, Manifest] = {}
        self._registries: dict[tuple[str, str], list[Manifest]] = {}
        """By registry and path of the repository."""
        self._repos: dict[tuple[RepoType, str], HubRepo] = {}
        self._by_digest: dict[str, PinnedFile] | None = None
        for manifest in self.manifests:
            self._add(manifest)

    def _add(self, manifest: Manifest) -> None:
        self._named[manifest.name] = manifest
        if (pin := manifest.huggingface) is not None:
            self._pinned.setdefault((pin.type, pin.repo), []).append(manifest)
        registry, _, path = (manifest.oci or "").partition("/")
        if path:
            self._registries.setdefault((registry, path), []).append(manifest)

    def hub_repo(self, kind: RepoType, name: str) -> HubRepo | None:
        """Find a repository of Hugging Face by its type and name, else a model by its own name."""
        found = self._repos.get((kind, name))
        if found is None:
            found = self._hub_repo(kind, name)
            if found is not None:
                self._repos[kind, name] = found
        return found

    def _hub_repo(self, kind: RepoType, name: str) -> HubRepo | None:
        if pinned := self._pinned.get((kind, name)):
            return self._pinned_repo(kind, name, pinned)
        manifest = self._named.get(name)
        if manifest is None or (kind == "dataset") != (manifest.kind == "dataset") or kind == "space":
            return None
        commit = manifest.huggingface.revision if manifest.huggingface else manifest.identity[:COMMIT_LENGTH]
        snapshot = Snapshot(commit, [manifest], self._fetched_at, own_paths=True)
        names = {MAIN: (snapshot,), manifest.version: (snapshot,)}
        return HubRepo(name, kind, (snapshot,), names, self._fetched_at)

    def _pinned_repo(self, kind: RepoType, name: str, manifests: Iterable[Manifest]) -> HubRepo:
        commits: dict[str, list[Manifest]] = {}
        revisions: dict[str, dict[str, None]] = {}
        for manifest in manifests:
            assert manifest.huggingface is not None
            commit = manifest.huggingface.revision
            commits.setdefault(commit, []).append(manifest)
            if revision := upstream_revision(manifest):
                revisions.setdefault(revision, {})[commit] = None
        snapshots = {
            commit: Snapshot(commit, each, self._fetched_at, own_paths=False)
            for commit, each in commits.items()
        }
        names = {name: tuple(snapshots[commit] for commit in each) for name, each in revisions.items()}
        return HubRepo(name, kind, tuple(snapshots.values()), names, self._fetched_at)

    def registry_repo(self, name: str, registry: str = "") -> RegistryRepo | None:
        """Find a repository of a registry by its name.

        Args:
            name: Name of a model, or the path of a repository that manifests name, also with its registry in
                front.
            registry: The registry that a client of a mirror asks for; only repositories that manifests place
                there are found then. Empty for a client of this server itself.
        """
        if registry:
            manifests, place = self._registries.get((registry, name), []), None
        else:
            manifests, place = [self._named[name]] if name in self._named else [], place_of(name)
            # A path alone names no registry, so what clients had pinned from one is not found by it.
            for (_, path), found in self._registries.items():
                if path == name:
                    manifests += [each for each in found if not is_pinned_on_demand(each)]
            manifests += self._registries.get(place, []) if place is not None else []
        unique = tuple({id(each): each for each in manifests}.values())  # hashing thousands of files is slow
        return RegistryRepo(name, unique, self._fetched_at, place is not None) if unique else None

    def file(self, sha256: str) -> PinnedFile | None:
        """Find a file by its digest, as a client sent it; None if no manifest pins it."""
        if self._by_digest is None:  # made late: it may have 100,000 rows, and few servers need it
            table: dict[str, PinnedFile] = {}
            for pinned in self.files():
                table.setdefault(pinned.file.sha256, pinned)
            self._by_digest = table
        return self._by_digest.get(sha256)

    def files(self) -> Iterator[PinnedFile]:
        """Yield all files of all models."""
        for manifest in self.manifests:
            for file in manifest.files:
                yield PinnedFile(manifest, file)


def _first_of_each(models: Iterable[tuple[str, Manifest]]) -> dict[str, Manifest]:
    """Return the first model of each tag."""
    found: dict[str, Manifest] = {}
    for tag, manifest in models:
        if tag:
            found.setdefault(tag, manifest)
    return found


def _hub_path(file: FileSpec) -> str:
    return file.huggingface_path or file.path
