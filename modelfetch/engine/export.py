"""Places outside the cache that get the files of a model too: which file goes where, and whether it can.

``--to DIR`` puts the files of every model at the root of a directory, and replaces files that have their
names. ``--layout hf`` puts them into the cache of the Hugging Face libraries, where nothing is ever replaced:

    DIR/config.json
    HUB/models--owner--name/snapshots/<revision>/config.json
    HUB/models--owner--name/refs/main                             (names the revision)

Conflicts and missing space are found before a byte is fetched.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.paths import caseless, why_unplaceable
from modelfetch.model.text import quote

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest
    from modelfetch.store import Store


@dataclass(frozen=True, slots=True)
class ExportPlace:
    """One place outside the cache for one file."""

    directory: Path
    path: str
    """Below the directory."""
    file: FileSpec
    replaces: bool
    """Whether a different file of that name is replaced; its bytes then go to quarantine."""


@dataclass(frozen=True, slots=True)
class Export:
    """All places outside the cache that a run fills."""

    to: Path | None = None
    """A directory that gets the files of every model at its root (``--to``)."""
    hub_cache: Path | None = None
    """A cache of the Hugging Face libraries (``--layout hf``): programs that use them find the model offline.

    It belongs to those programs, so a file that is there already is used or left alone, and never
    replaced."""

    def places(self, manifest: Manifest) -> Iterator[ExportPlace]:
        """Yield the places of every file.

        Raises:
            UsageError: ``--layout hf`` was given, and the model is not a Hugging Face repository.
        """
        if self.to is not None:
            yield from (ExportPlace(self.to, file.path, file, replaces=True) for file in manifest.files)
        if self.hub_cache is not None:
            repo = _repo(manifest)
            snapshot = self.hub_cache / _cache_folder(repo) / "snapshots" / repo.revision
            for file in manifest.files:
                yield ExportPlace(snapshot, file.huggingface_path or file.path, file, replaces=False)

    def notes(self, manifest: Manifest) -> Iterator[tuple[Path, str, str]]:
        """Yield directory, path and text of small files to write beside the model's own.

        The Hugging Face libraries read ``refs/main`` to find the snapshot of a model without a revision.
        """
        if self.hub_cache is not None:
            repo = _repo(manifest)
            yield self.hub_cache / _cache_folder(repo), "refs/main", repo.revision

    def check(self, manifests: Sequence[Manifest], store: Store) -> None:
        """Check, before a byte is fetched, that the files of all of these models can be placed.

        Raises:
            UsageError: ``--layout hf`` was given, and a model is not a Hugging Face repository or the cache
                of the libraries has a different file in a place; or one model would overwrite files of
                another.
        """
        owners: dict[tuple[Path, str], tuple[str, str]] = {}
        for manifest in manifests:
            for place in self.places(manifest):
                _check_name(manifest, place)
                claim = (manifest.name, place.file.sha256)
                # Caseless, as some file systems are: there a.bin and A.bin are one file.
                name, sha256 = owners.setdefault((place.directory, caseless(place.path)), claim)
                if sha256 != place.file.sha256:
                    raise UsageError(
                        f"{name} and {manifest.name} both have {place.path}: "
                        f"they cannot share {place.directory}",
                        hint="Give each model a directory of its own: run the command once for each.",
                    )
                if not place.replaces:
                    store.guest.is_free(place.directory, place.path, place.file)

    def check_space(self, manifests: Iterable[Manifest], store: Store) -> None:
        """Require space for the copies, on every file system that is not the cache's own.

        On that one files are hard links and take no space. A file that is there with the right size counts
        as the right one: if it is not, the copy that replaces it may still find the disk full.

        Raises:
            StoreError: There is too little space; the message names the directory.
        """
        targets: dict[int, dict[tuple[Path, str], ExportPlace]] = {}
        file_systems: dict[Path, int] = {}
        for place in chain.from_iterable(map(self.places, manifests)):
            directory = place.directory
            if directory not in file_systems:  # one lookup for all files of a directory
                file_systems[directory] = store.file_system(directory)
            targets.setdefault(file_systems[directory], {})[directory, place.path] = place
        if targets:
            targets.pop(store.file_system(), None)
        for places in targets.values():
            copies = [
                place
                for place in places.values()
                if not store.has_size(place.directory / place.path, place.file.size)
            ]
            if copies:
                needed, first = sum(place.file.size for place in copies), copies[0]
                instead = _INSTEAD_OF_TO if first.replaces else _INSTEAD_OF_HUB_CACHE
                store.check_space(needed, self.to if first.replaces else self.hub_cache, instead)


_INSTEAD_OF_TO: Final = "choose another directory with --to"
_INSTEAD_OF_HUB_CACHE: Final = "leave --layout hf out"


def _check_name(manifest: Manifest, place: ExportPlace) -> None:
    clause = why_unplaceable(place.path, windows=os.name == "nt")
    if clause and not place.replaces:
        raise UsageError(
            f"{manifest.name}: the path {quote(place.path)} {clause}",
            hint="Leave --layout hf out for this model; --to DIR places the files anywhere.",
        )


def _cache_folder(repo: HuggingFaceRepo) -> str:
    from modelfetch.sources.huggingface import cache_folder  # only for --layout hf

    return cache_folder(repo)


def _repo(manifest: Manifest) -> HuggingFaceRepo:
    if manifest.huggingface is None:
        raise UsageError(
            f"{manifest.name} does not come from Hugging Face: the Hugging Face libraries would not find it",
            hint="Leave --layout hf out for this model; --to DIR places the files anywhere.",
        )
    return manifest.huggingface
