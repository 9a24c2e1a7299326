"""Container images of models: their documents, their layers, and the files in these.

With ``bundle create --form image`` a model becomes an image that container tools mount and copy. Each layer
is an uncompressed tar of one file, so the bytes of the file are in the blob, at offset 512::

    {"config": {...}, "layers": [
        {"annotations": {"io.modelfetch.sha256": "44136f...", "org.cncf.model.filepath": "config.json"},
         "digest": "sha256:...", "mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 2048},
        ...], ...}

The digest of a layer is not that of the file, which an annotation states. As in
:mod:`modelfetch.bundle.documents`, the last layer is the manifest of modelfetch, and the same model always
becomes the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from modelfetch.bundle.documents import (
    FILEPATH,
    MODELS_LIMIT,
    Artifact,
    Layer,
    compact_json,
    descriptor_of,
    digest,
    toml_name,
)
from modelfetch.bundle.tar_format import END, padding
from modelfetch.bundle.verifier import (
    BLOBS,
    BLOCK,
    FILE_MODE,
    IMAGE_DIRECTORY,
    IMAGE_LAYER,
    PROGRAM_MODE,
    BundleError,
    build_header,
    check_layer,
    layer_size,
    read_document,
)
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.registry_documents import (
    FILE_DIGEST,
    MODEL_MANIFEST,
    OCI_MANIFEST,
    Descriptor,
    Document,
)
from modelfetch.model.text import quote
from modelfetch.model.write import manifest_toml

if TYPE_CHECKING:
    from modelfetch.bundle.verifier import Bundle
    from modelfetch.model.manifest import FileSpec, Manifest

IMAGE_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class LayerParts:
    """What is before and behind the bytes of a file in its layer."""

    head: bytes
    tail: bytes


@dataclass(frozen=True, slots=True)
class FileInLayer:
    """A file in a layer of an image, by what the manifest of the image states."""

    sha256: str
    size: int
    blob: str
    """Digest of the layer, whose bytes from 512 on are the file."""


def parts_of(path: str, size: int, *, executable: bool = False) -> LayerParts:
    """Return what surrounds a file in its layer.

    Raises:
        ValueError: The path does not fit into a header, or would have a meaning in a layer.
    """
    if any(name.startswith(".wh.") for name in path.split("/")):
        # Whiteouts (image-spec, layer.md): unpacking such a file deletes another one.
        raise ValueError("a name that begins with .wh. deletes files in a layer")
    mode = PROGRAM_MODE if executable else FILE_MODE
    return LayerParts(build_header(IMAGE_DIRECTORY + path, size, mode), padding(size) + END)


def toml_layer(manifest: Manifest) -> bytes:
    """Return the layer with the TOML manifest of a model."""
    toml = manifest_toml(manifest).encode()
    parts = parts_of(toml_name(manifest), len(toml))
    return parts.head + toml + parts.tail


def image_of(manifest: Manifest, digests: Mapping[FileSpec, str]) -> Artifact:
    """Make the documents of the image of a model.

    Args:
        manifest: The model.
        digests: SHA-256 of the layer of each file.
    """
    layers = [
        _layer(file.path, file.size, file.sha256, digests[file], {})
        for file in sorted(manifest.files, key=lambda file: file.path)
    ]
    toml = manifest_toml(manifest).encode()
    own = digest(toml_layer(manifest))
    layers.append(_layer(toml_name(manifest), len(toml), digest(toml), own, {MODEL_MANIFEST: "1"}))
    config = _config([layer.sha256 for layer in layers])
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor_of(IMAGE_CONFIG, digest(config), len(config)),
        "layers": [
            descriptor_of(IMAGE_LAYER, layer.sha256, layer.size) | {"annotations": layer.annotations}
            for layer in layers
        ],
    }
    name = f"{manifest.name}:{manifest.version}"
    return Artifact(name, tuple(layers), config, compact_json(document), artifact_type="")


def _layer(path: str, size: int, sha256: str, blob: str, more: Mapping[str, str]) -> Layer:
    return Layer(path, layer_size(size), blob, "", {FILEPATH: path, FILE_DIGEST: sha256, **more})


def _config(digests: Sequence[str]) -> bytes:
    # Required by image-spec, config.md. A model runs on every platform, but an image has to name one.
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{each}" for each in digests]}
    return compact_json({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs})


def check_image(config: Mapping[str, Any], layers: Sequence[Descriptor], label: str) -> None:
    """Require that the layers of an image are as they were written, and that its config lists them.

    Container tools compress layers when they copy an image, and refuse one whose config has other digests.

    Raises:
        BundleError: They are not, or it does not.
    """
    for layer in layers:
        if layer.media_type != IMAGE_LAYER:
            raise BundleError(
                f"{label} has a layer of type {quote(layer.media_type)}; if a copy compressed it, "
                "copy again with `skopeo copy --preserve-digests`"
            )
    rootfs = config.get("rootfs")
    stated = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if stated != [f"sha256:{layer.sha256}" for layer in layers]:
        raise BundleError(f"the config of {label} does not list its layers")


def check_layer_of(bundle: Bundle, sha256: str, file: FileSpec) -> None:
    """Require that a blob is an archive of a file, as :func:`parts_of` states, and of nothing else.

    Raises:
        BundleError: It is not.
        OSError: The bundle cannot be read.
    """
    try:
        head = parts_of(file.path, file.size, executable=file.executable).head
    except ValueError as error:
        raise BundleError(f"{file.path}: {error}") from None
    if _part(bundle, sha256, 0, BLOCK) != head:
        raise BundleError(f"the layer of {file.path} is not an archive of that file alone")
    _check_rest(_part(bundle, sha256, BLOCK + file.size), file.path)


def content_of(blob: bytes, path: str) -> bytes:
    """Return the bytes of the file in a small layer.

    Raises:
        BundleError: It is not an archive of that file alone.
    """
    size = check_layer(blob[:BLOCK], path, len(blob))
    _check_rest(blob[BLOCK + size :], path)
    return blob[BLOCK : BLOCK + size]


def _check_rest(rest: bytes, path: str) -> None:
    """Require that only zeros follow the file in a layer: there is no second member."""
    if rest.strip(b"\0"):
        raise BundleError(f"the layer of {path} is not an archive of that file alone")


def _part(bundle: Bundle, sha256: str, start: int, end: int | None = None) -> bytes:
    return b"".join(bundle.pieces(BLOBS + sha256, start, end))


def files_in_layers(bundle: Bundle) -> Iterator[FileInLayer]:
    """Yield the files of the images of a bundle, by what its documents state; nothing is verified.

    Raises:
        BundleError: A document is missing or malformed.
        OSError: The bundle cannot be read.
    """
    try:
        entries = Document("", "", read_document(bundle, "index.json")).descriptors("manifests")
        # An artifact of ModelPack has the files themselves as blobs; it need not be read. Once each: an index
        # can name one manifest many times.
        images = {entry.sha256: entry for entry in entries[:MODELS_LIMIT] if not entry.artifact_type}
        for entry in images.values():
            if entry.sha256 not in bundle.blobs:
                continue
            document = Document("", "", read_document(bundle, BLOBS + entry.sha256))
            for layer in document.descriptors("layers"):
                if found := _file_in(bundle, layer):
                    yield found
    except ValueError as error:
        raise BundleError(str(error)) from None


def _file_in(bundle: Bundle, layer: Descriptor) -> FileInLayer | None:
    """Return the file of a layer; None if its blob is not there, or its descriptor states no file."""
    sha256 = layer.annotations.get(FILE_DIGEST, "")
    is_there = bundle.blobs.get(layer.sha256) == layer.size
    if layer.media_type != IMAGE_LAYER or not is_there or not _HEX.fullmatch(sha256):
        return None
    size = check_layer(_part(bundle, layer.sha256, 0, BLOCK), layer.annotations.get(FILEPATH, ""), layer.size)
    return FileInLayer(sha256, size, layer.sha256)
