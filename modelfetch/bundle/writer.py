"""Writes a bundle: the models of a cache in a deterministic tar.

The same models always become the same bytes (:mod:`modelfetch.bundle.tar_format`). Members, in this order::

    oci-layout    index.json    verify.py, if wanted    blobs/sha256/<digest>, by digest

Each file is hashed while it is copied: a damaged file of the cache ends the run, and leaves no bundle. The
layers of an image have digests of their own, by which they are named, so all files are read once before that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.bundle.documents import LAYOUT, artifact_of, digest, index, toml_name
from modelfetch.bundle.image import LayerParts, image_of, parts_of, toml_layer
from modelfetch.bundle.tar_format import END, header, padded, padding
from modelfetch.bundle.verifier import BLOBS, layer_size
from modelfetch.bundle.volumes import Volumes
from modelfetch.errors import IntegrityError, OfflineError, UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.paths import clashes
from modelfetch.model.text import sanitize

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.store import Store

_ELSEWHERE: Final = "choose another place with -o"

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
    parts: LayerParts = LayerParts(b"", b"")
    """What is before and behind the file, if the member is a layer of an image."""


def create(
    store: Store,
    manifests: Sequence[Manifest],
    target: Path,
    *,
    volume_size: int | None = None,
    verifier: bool = False,
    image: bool = False,
    progress: Progress = lambda *_: None,
) -> list[Path]:
    """Write a bundle.

    Args:
        store: The cache that has the models.
        manifests: The models; each name once.
        target: The file, which must not exist.
        volume_size: Most bytes of a file; None for one file, else the files are ``TARGET.001`` and so on.
        verifier: Whether the program ``verify.py`` is put in.
        image: Whether the models become container images, and not artifacts of ModelPack.
        progress: Called while files are read.

    Returns:
        The files that were written.

    Raises:
        OfflineError: A model is not present.
        IntegrityError: A file of the cache is damaged.
        UsageError: The target exists, a file of a model has the name of its manifest, or the path of a file
            does not fit into a layer.
        StoreError: The disk refused, or has too little space.
    """
    if image:
        # Before hours of hashing, what can be refused at once.
        least = summary(manifests, image=True)["size"]
        Volumes(target, volume_size, least)
        store.check_space(least, target.parent, _ELSEWHERE)
    members = members_of(store, manifests, verifier=verifier, image=image, progress=progress)
    size = sum(padded(member.size) for member in members) + len(END)
    with Volumes(target, volume_size, size) as volumes:
        store.check_space(size, target.parent, _ELSEWHERE)
        for member in members:
            volumes.write(header(member.name, member.size))
            for piece in _content(store, member, progress):
                volumes.write(piece)
            volumes.write(padding(member.size))
        volumes.write(END)
        volumes.finish()
        return volumes.paths


def members_of(
    store: Store,
    manifests: Sequence[Manifest],
    *,
    verifier: bool = False,
    image: bool = False,
    progress: Progress = lambda *_: None,
) -> list[Member]:
    """Return the members of a bundle of these models, in order; see :func:`create`.

    Raises:
        OfflineError: A model is not present.
        IntegrityError: A file is damaged; only images are read for this.
        UsageError: A file of a model has the name of its manifest, or does not fit into a layer.
    """
    present = [(manifest, list(_files(store, manifest))) for manifest in manifests]
    if image:  # all of them, before the first file is read
        present = [(manifest, list(map(_in_layer, found))) for manifest, found in present]
    artifacts, blobs = [], dict[str, Member]()
    for manifest, found in present:
        if image:
            files = [_named(store, member, progress) for member in found]
            artifact, last = image_of(manifest, _digests(files)), toml_layer(manifest)
        else:
            files = found
            artifact, last = artifact_of(manifest)
        artifacts.append(artifact)
        small = [_small(BLOBS + digest(data), data) for data in (artifact.config, artifact.manifest, last)]
        blobs |= {member.name: member for member in [*small, *files]}
    first = [_small("oci-layout", LAYOUT), _small("index.json", index(artifacts))]
    if verifier:
        first.append(_small("verify.py", resources("modelfetch.bundle").joinpath("verifier.py").read_bytes()))
    return [*first, *(blobs[name] for name in sorted(blobs))]


def _small(name: str, data: bytes) -> Member:
    return Member(name, len(data), data)


def _files(store: Store, manifest: Manifest) -> Iterator[Member]:
    """Yield the files of a model as raw blobs."""
    check_name(manifest)
    for path, file in files_of(store, manifest):
        yield Member(BLOBS + file.sha256, file.size, path=path, file=file)


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


def _in_layer(member: Member) -> Member:
    """Return a file as a layer of an image, whose digest is not known yet.

    Raises:
        UsageError: Its path does not fit into a header.
    """
    assert member.file is not None
    file = member.file
    try:
        parts = parts_of(file.path, file.size, executable=file.executable)
    except ValueError as error:
        raise UsageError(
            f"{sanitize(file.path)} cannot be in an image: {error}", hint="Leave out `--form image`."
        ) from None
    return replace(member, size=layer_size(file.size), parts=parts)


def _named(store: Store, member: Member, progress: Progress) -> Member:
    """Return a layer with its digest as name."""
    hasher = hashlib.sha256()
    for piece in _content(store, member, progress):
        hasher.update(piece)
    return replace(member, name=BLOBS + hasher.hexdigest())


def _digests(layers: Iterable[Member]) -> dict[FileSpec, str]:
    return {layer.file: layer.name.removeprefix(BLOBS) for layer in layers if layer.file is not None}


def _content(store: Store, member: Member, progress: Progress) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a member; those of a file must have its digest.

    Raises:
        IntegrityError: They do not.
    """
    if member.path is None or member.file is None:
        yield member.data
        return
    yield member.parts.head
    yield from _verified(store, member.path, member.file, progress)
    yield member.parts.tail


def _verified(store: Store, path: Path, file: FileSpec, progress: Progress) -> Iterator[bytes | memoryview]:
    hasher, size = hashlib.sha256(), 0
    for piece in store.read(path):
        size += len(piece)
        if size > file.size:
            break
        hasher.update(piece)
        yield piece
        progress(file.path, size, file.size)
    if not file.is_pinned(hasher.hexdigest(), size):
        raise IntegrityError(
            f"{sanitize(str(path))} is damaged, so no bundle was written",
            hint="`modelfetch verify --repair` repairs it.",
        )


def summary(manifests: Sequence[Manifest], *, image: bool = False) -> Mapping[str, int]:
    """Return the number of models, files and different blobs, and the bytes of the files in the blobs.

    Args:
        manifests: The models.
        image: Whether they become images, in which a file has a blob for each of its paths.
    """
    files = [file for manifest in manifests for file in manifest.files]
    sizes = {(file.sha256, file.path if image else ""): file.size for file in files}
    return {
        "models": len(manifests),
        "files": len(files),
        "blobs": len(sizes),
        "size": sum(sizes.values()),
    }
