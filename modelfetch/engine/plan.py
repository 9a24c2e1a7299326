"""What is there, what is missing, and where it would come from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from modelfetch.engine.events import Planned, PlannedFile
from modelfetch.engine.runtime import Runtime
from modelfetch.model.manifest import FileSpec, Manifest, is_permissive
from modelfetch.store import Store
from modelfetch.values import dataclass


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
    begun = frozenset[str]() if inventory.anew else runtime.store.begun()
    files = tuple(_planned_file(runtime, inventory, file, begun) for file in manifest.files)
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
    runtime: Runtime, inventory: Inventory, file: FileSpec, begun: Collection[str]
) -> PlannedFile:
    if file.path in inventory.kept:
        return PlannedFile(file.path, file.size, file.sha256, "kept", file.size, ())
    held = 0 if inventory.anew else held_of(runtime.store, inventory.manifest, file, begun)
    offers = runtime.offers((inventory.manifest, file))
    sources = tuple(f"{offer.kind} {offer.host}" for offer in offers)
    return PlannedFile(file.path, file.size, file.sha256, "partial" if held else "missing", held, sources)


def held_of(store: Store, manifest: Manifest, file: FileSpec, begun: Collection[str] | None = None) -> int:
    """Bytes of a file that need not be fetched: a whole one, or what a journal says; to be hashed yet.

    Args:
        store: The cache.
        manifest: The model.
        file: One of its files.
        begun: The digests of all unfinished downloads, which whoever asks for many files looks up once:
            :meth:`modelfetch.store.Store.begun`.
    """
    if store.find_blob(file) is not None or store.is_filled(manifest, file):
        return file.size
    return store.held(file) if begun is None or file.sha256 in begun else 0


@dataclass(frozen=True, slots=True)
class Job:
    """One digest to obtain, for every place that needs it."""

    places: tuple[tuple[Manifest, FileSpec], ...]

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
