"""What a run finds on disk, what is missing, and from where it would be fetched.

No file of a model is read, and no request is made: a file counts as present when its stat (size, time, inode)
agrees with the receipt of its model. Missing files become jobs, one for each digest, so that bytes shared by
several files or models are fetched once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.engine.events import Planned, PlannedFile
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import NO_LICENSE, FileSpec, Manifest, is_permissive
from modelfetch.store.chunk_digests import CHUNK

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.store import Store


MOST_OFFERS: Final = 4096
"""The most offers kept from a plan: about a kilobyte each."""
ModelKey = tuple[str, str, str]
"""Name, version and identity of a model; see :func:`model_key`."""
FileKey = tuple[str, str, str, str]
"""The key of a model, and a path. A run may have several versions of a model, and several claims to one."""


def model_key(manifest: Manifest) -> ModelKey:
    """The key of a model. Name and version alone are no key: two manifests may claim the same ones."""
    return manifest.name, manifest.version, manifest.identity


def key_of(manifest: Manifest, file: FileSpec) -> FileKey:
    """The key of a file of a model."""
    return *model_key(manifest), file.path


@dataclass(frozen=True, slots=True)
class Inventory:
    """One model as found on disk, by stat alone."""

    manifest: Manifest
    kept: frozenset[str]
    """Paths of files whose stat agrees with the receipt: unchanged since they were verified."""
    force: bool = False
    """Whether to fetch every file again (``--force``), so that no byte on disk counts."""
    wanted: frozenset[str] | None = None
    """Paths of the files that the run is about; None for all of them."""

    @property
    def files(self) -> Sequence[FileSpec]:
        """Files that the run is about."""
        if self.wanted is None:
            return self.manifest.files
        return [file for file in self.manifest.files if file.path in self.wanted]

    @property
    def missing(self) -> list[FileSpec]:
        """Files to obtain."""
        return [file for file in self.files if file.path not in self.kept]


def take_inventory(runtime: Runtime, manifest: Manifest, distrusted: Collection[str] = ()) -> Inventory:
    """Find out which files of a model are present.

    Args:
        runtime: Of the run; its cache is examined.
        manifest: The model.
        distrusted: Paths that count as missing whatever their stat says.
    """
    receipt = runtime.store.receipt(manifest)
    agrees = runtime.store.kept(manifest, receipt)
    # A file that became executable in the manifest has the right bytes and still has to be placed again.
    kept = (
        file.path
        for file in manifest.files
        if agrees[file.path] and file.path not in distrusted and runtime.store.has_mode(manifest, file)
    )
    return Inventory(manifest, frozenset(kept))


def planned(runtime: Runtime, inventory: Inventory) -> Planned:
    """Describe what ensuring a model would do. Writes nothing and makes no request."""
    manifest = inventory.manifest
    holdings = None if inventory.force else Holdings(runtime.store)
    with runtime.store.looking():
        files = tuple(_planned_file(runtime, inventory, file, holdings) for file in inventory.files)
    return Planned(
        model=manifest.name,
        version=manifest.version,
        title=manifest.title,
        license=manifest.license,
        license_notice=license_notice(manifest),
        homepage=manifest.homepage,
        directory=str(runtime.store.directory(manifest)),
        size=manifest.size if inventory.wanted is None else sum(file.size for file in files),
        missing=sum(file.size - file.held for file in files),
        files=files,
    )


def reusable(runtime: Runtime, manifest: Manifest, file: FileSpec) -> int:
    """Return how many bytes of a missing file other files on this disk have, as their chunk maps say."""
    if file.size <= CHUNK or not (file.cid or runtime.store.chunk_maps.has(file.sha256)):
        return 0  # as almost always: loads nothing
    from modelfetch.engine.file_chunks import known_table

    table = known_table(runtime, (manifest, file))
    if table is None:
        return 0
    return runtime.store.local_chunks.held_elsewhere(table)


def license_notice(manifest: Manifest) -> str:
    """What a user must know before use; empty for permissive licenses."""
    if manifest.license_notice or is_permissive(manifest.license):
        return manifest.license_notice
    return "read its terms before use" if manifest.license else NO_LICENSE


def _planned_file(
    runtime: Runtime, inventory: Inventory, file: FileSpec, holdings: Holdings | None
) -> PlannedFile:
    if file.path in inventory.kept:
        return PlannedFile(file.path, file.size, file.sha256, "kept", file.size, ())
    held = holdings.of(inventory.manifest, file) if holdings is not None else 0
    reused = reusable(runtime, inventory.manifest, file) if holdings is not None and not held else 0
    offers = runtime.offers((inventory.manifest, file))
    if offers and len(runtime.first_offers) < MOST_OFFERS:
        runtime.first_offers[id(inventory.manifest), file.path] = inventory.manifest, offers[0]
    sources = tuple(f"{offer.kind} {offer.host}" for offer in offers)
    held = held or reused
    return PlannedFile(
        file.path, file.size, file.sha256, "partial" if held else "missing", held, sources, reused
    )


class Holdings:
    """The bytes of files that are on disk already and need not be fetched. No file is read.

    Partial downloads and directories are listed once for all files, so use an instance for one pass only.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._begun = store.begun()
        self._has_directory: dict[ModelKey, bool] = {}
        """Looked up once for each model: most models that miss a file have no directory."""

    def of(self, manifest: Manifest, file: FileSpec) -> int:
        """Bytes of a file on disk: all of it, or as many as a journal says. They are still to be hashed."""
        if self._store.find_blob(file) is not None or self._is_filled(manifest, file):
            return file.size
        return self._store.held(file) if file.sha256 in self._begun else 0

    def _is_filled(self, manifest: Manifest, file: FileSpec) -> bool:
        key = model_key(manifest)
        has_directory = self._has_directory.get(key)
        if has_directory is None:
            has_directory = self._has_directory[key] = self._store.has_directory(manifest)
        return has_directory and self._store.is_filled(manifest, file)


@dataclass(frozen=True, slots=True)
class Job:
    """One digest to obtain, for every file of every model that needs it."""

    places: tuple[tuple[Manifest, FileSpec], ...]

    @property
    def key(self) -> tuple[str, int]:
        """Digest and size, which no other job of a run shares."""
        return self.file.sha256, self.file.size

    @property
    def file(self) -> FileSpec:
        """The file, as the first manifest describes it."""
        return self.places[0][1]


def jobs(inventories: Sequence[Inventory]) -> list[Job]:
    """Make the jobs of a run: each digest once, the largest file first.

    A large file that began last would be fetched alone at the end, with the other threads idle. A digest to
    which manifests give several sizes is a job for each size; see :func:`split_rivals`.
    """
    places: dict[tuple[str, int], list[tuple[Manifest, FileSpec]]] = {}
    for manifest, file in _missing(inventories):
        places.setdefault((file.sha256, file.size), []).append((manifest, file))
    return sorted((Job(tuple(group)) for group in places.values()), key=lambda job: -job.file.size)


def split_rivals(work: Sequence[Job]) -> tuple[list[Job], list[list[Job]]]:
    """Split jobs into those with a digest of their own, and groups that claim one digest for several sizes.

    Returns:
        The former in their order, and the groups.
    """
    by_digest: dict[str, list[Job]] = {}
    for job in work:
        by_digest.setdefault(job.file.sha256, []).append(job)
    plain = [job for job in work if len(by_digest[job.file.sha256]) == 1]
    return plain, [group for group in by_digest.values() if len(group) > 1]


def _missing(inventories: Sequence[Inventory]) -> Iterator[tuple[Manifest, FileSpec]]:
    for inventory in inventories:
        for file in inventory.missing:
            yield inventory.manifest, file
