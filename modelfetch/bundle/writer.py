"""Writes a bundle: the models of a cache in a deterministic tar.

The same models always become the same bytes (:mod:`modelfetch.bundle.tar_format`). Members, in this order::

    oci-layout    index.json    verify.py, if wanted    blobs/sha256/<digest>, by digest

Each file is hashed while it is copied: a damaged file of the cache ends the run, and leaves no bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.bundle.documents import LAYOUT, artifact_of, digest, index, toml_name
from modelfetch.bundle.tar_format import END, header, padded, padding
from modelfetch.bundle.verifier import BLOBS
from modelfetch.bundle.volumes import Volumes
from modelfetch.errors import IntegrityError, OfflineError, UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.paths import clashes
from modelfetch.model.text import sanitize

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.store import Store

Progress = Callable[[str, int, int], None]
"""Gets the path of a file, the bytes of it that were processed, and its size."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member to be written: a small one as bytes, a large one as a file of the cache."""

    name: str
    size: int
    data: bytes = b""
    path: Path | None = None
    file: FileSpec | None = None


def create(
    store: Store,
    manifests: Sequence[Manifest],
    target: Path,
    *,
    volume_size: int | None = None,
    verifier: bool = False,
    progress: Progress = lambda *_: None,
) -> list[Path]:
    """Write a bundle.

    Args:
        store: The cache that has the models.
        manifests: The models; each name once.
        target: The file, which must not exist.
        volume_size: Most bytes of a file; None for one file, else the files are ``TARGET.001`` and so on.
        verifier: Whether the program ``verify.py`` is put in.
        progress: Called while files are copied.

    Returns:
        The files that were written.

    Raises:
        OfflineError: A model is not present.
        IntegrityError: A file of the cache is damaged.
        UsageError: The target exists, or a file of a model has the name of its manifest.
        StoreError: The disk refused, or has too little space.
    """
    members = members_of(store, manifests, verifier=verifier)
    size = sum(padded(member.size) for member in members) + len(END)
    with Volumes(target, volume_size, size) as volumes:
        store.check_space(size, target.parent, "choose another place with -o")
        for member in members:
            volumes.write(header(member.name, member.size))
            for piece in _content(store, member, progress):
                volumes.write(piece)
            volumes.write(padding(member.size))
        volumes.write(END)
        volumes.finish()
        return volumes.paths


def members_of(store: Store, manifests: Sequence[Manifest], *, verifier: bool = False) -> list[Member]:
    """Return the members of a bundle of these models, in order.

    Raises:
        OfflineError: A model is not present.
        UsageError: A file of a model has the name of its manifest.
    """
    artifacts, blobs = [], dict[str, Member]()
    for manifest in manifests:
        check_name(manifest)
        artifact, toml = artifact_of(manifest)
        artifacts.append(artifact)
        small = [_small(BLOBS + digest(data), data) for data in (artifact.config, artifact.manifest, toml)]
        large = [
            Member(BLOBS + file.sha256, file.size, path=path, file=file)
            for path, file in files_of(store, manifest)
        ]
        blobs |= {member.name: member for member in [*small, *large]}
    first = [_small("oci-layout", LAYOUT), _small("index.json", index(artifacts))]
    if verifier:
        first.append(_small("verify.py", files("modelfetch.bundle").joinpath("verifier.py").read_bytes()))
    return [*first, *(blobs[name] for name in sorted(blobs))]


def tar_of(members: Iterable[Member]) -> bytes:
    """Return the archive of small members, such as those of a test vector."""
    parts = (header(each.name, each.size) + each.data + padding(each.size) for each in members)
    return b"".join(parts) + END


def _small(name: str, data: bytes) -> Member:
    return Member(name, len(data), data)


def files_of(store: Store, manifest: Manifest) -> Iterator[tuple[Path, FileSpec]]:
    """Yield the files of a model: its blobs, or where a blob was lost, the placed file.

    Raises:
        OfflineError: The model is not present.
    """
    directory = store.directory(manifest)
    for file in manifest.files:
        path = store.find_blob(file) or directory / file.path
        if store.size_of(path) != file.size:
            raise OfflineError(
                f"{manifest.name} is not present: {sanitize(file.path)} is missing",
                hint=f"Run `modelfetch ensure {manifest.name}`.",
            )
        yield path, file


def check_name(manifest: Manifest) -> None:
    """Check that no file of a model has the name of its TOML manifest.

    Raises:
        UsageError: One has.
    """
    own = toml_name(manifest)
    if any(clashes([own, *(file.path for file in manifest.files)])):
        raise UsageError(
            f"{manifest.name} has a file called {own}, which is the name of its manifest in a bundle",
            hint="Pin the model under another name, with `modelfetch add ... --name`.",
        )


def _content(store: Store, member: Member, progress: Progress) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a member; those of a file must have its digest.

    Raises:
        IntegrityError: They do not.
    """
    if member.path is None or member.file is None:
        yield member.data
        return
    hasher, size = hashlib.sha256(), 0
    for piece in store.read(member.path):
        size += len(piece)
        if size > member.size:
            break
        hasher.update(piece)
        yield piece
        progress(member.file.path, size, member.size)
    if not member.file.is_pinned(hasher.hexdigest(), size):
        raise IntegrityError(
            f"{sanitize(str(member.path))} is damaged, so no bundle was written",
            hint="`modelfetch verify --repair` repairs it.",
        )


def summary(manifests: Sequence[Manifest]) -> Mapping[str, int]:
    """Return the number of models, files and different blobs, and the bytes of the blobs."""
    sizes = {file.sha256: file.size for manifest in manifests for file in manifest.files}
    return {
        "models": len(manifests),
        "files": sum(len(manifest.files) for manifest in manifests),
        "blobs": len(sizes),
        "size": sum(sizes.values()),
    }
