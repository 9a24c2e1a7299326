"""What is there, what is missing, and where it would come from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from modelfetch.engine.events import Planned, PlannedFile
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import FileSpec, Manifest, is_permissive

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.store import Store


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
    """One model as found on disk; nothing was read. Kept is what agrees with the receipt by its stat."""

    manifest: Manifest
    kept: frozenset[str]
    """Paths of files that are there and unchanged since they were verified."""
    anew: bool = False
    """Whether everything is to be fetched again, so that nothing that lies here counts."""

    @property
    def missing(self) -> list[FileSpec]:
        """Files to obtain."""
        return [file for file in self.manifest.files if file.path not in self.kept]


def take_inventory(runtime: Runtime, manifest: Manifest, distrusted: Collection[str] = ()) -> Inventory:
    """Look at what is there of a model.

    Args:
        runtime: The cache to look into.
        manifest: The model.
        distrusted: Paths that count as missing whatever their stat says.
    """
    receipt = runtime.store.receipt(manifest)
    agrees = runtime.store.kept(manifest, receipt)
    return Inventory(
        manifest, frozenset(path for path, ok in agrees.items() if ok and path not in distrusted)
    )


def planned(runtime: Runtime, inventory: Inventory) -> Planned:
    """Describe what ensuring a model would do. Writes nothing, asks no network."""
    manifest = inventory.manifest
    holdings = None if inventory.anew else Holdings(runtime.store)
    with runtime.store.looking():
        files = tuple(_planned_file(runtime, inventory, file, holdings) for file in manifest.files)
    return Planned(
        model=manifest.name,
        version=manifest.version,
        title=manifest.title,
        license=manifest.license,
        license_notice=license_notice(manifest),
        homepage=manifest.homepage,
        directory=str(runtime.store.directory(manifest)),
        size=manifest.size,
        missing=sum(file.size - file.held for file in files),
        files=files,
    )


def license_notice(manifest: Manifest) -> str:
    """What to know before use; empty for permissive licences."""
    if manifest.license_notice or is_permissive(manifest.license):
        return manifest.license_notice
    return "read its terms before use" if manifest.license else "no licence is stated"


def _planned_file(
    runtime: Runtime, inventory: Inventory, file: FileSpec, holdings: Holdings | None
) -> PlannedFile:
    if file.path in inventory.kept:
        return PlannedFile(file.path, file.size, file.sha256, "kept", file.size, ())
    held = holdings.of(inventory.manifest, file) if holdings is not None else 0
    offers = runtime.offers((inventory.manifest, file))
    sources = tuple(f"{offer.kind} {offer.host}" for offer in offers)
    return PlannedFile(file.path, file.size, file.sha256, "partial" if held else "missing", held, sources)


class Holdings:
    """What need not be fetched of files that are looked at one after the other; nothing of it is read.

    What they have in common is looked up once, so these are short-lived.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._begun = store.begun()
        self._has_directory: dict[ModelKey, bool] = {}
        """Looked up once for each model: most models that miss a file have no directory."""

    def of(self, manifest: Manifest, file: FileSpec) -> int:
        """Bytes of a file that are here: all of it, or what a journal says; to be hashed yet."""
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
    """One digest to obtain, for every place that needs it."""

    places: tuple[tuple[Manifest, FileSpec], ...]

    @property
    def key(self) -> tuple[str, int]:
        """Digest and size, which no other job of a run shares."""
        return self.file.sha256, self.file.size

    @property
    def file(self) -> FileSpec:
        """The file, as its first place describes it."""
        return self.places[0][1]


def jobs(inventories: Sequence[Inventory]) -> list[Job]:
    """What to obtain: each digest once, the largest first, so that no large file is left alone at the end.

    A digest to which manifests give several sizes is a job for each of them; see :func:`apart`.
    """
    places: dict[tuple[str, int], list[tuple[Manifest, FileSpec]]] = {}
    for manifest, file in _missing(inventories):
        places.setdefault((file.sha256, file.size), []).append((manifest, file))
    return sorted((Job(tuple(group)) for group in places.values()), key=lambda job: -job.file.size)


def apart(work: Sequence[Job]) -> tuple[list[Job], list[list[Job]]]:
    """Tell jobs that have their digest to themselves from those that claim one for different sizes.

    Returns:
        The former, in their order, and groups of the latter.
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
