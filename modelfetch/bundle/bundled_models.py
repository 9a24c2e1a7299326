"""Finds the models of a bundle: their manifests, and the blobs that they need.

Everything is checked before a byte of a model is read. A document must have the digest and size that the one
above it states, and the TOML manifest and the layers must list the same files::

    index.json -> manifest of the artifact -> TOML manifest, by the annotation io.modelfetch.manifest
                                           -> a layer for each file of it: same path, size and SHA-256

So a bundle cannot bring a file that its manifest does not pin, and no other blob is ever imported. In an
image (:mod:`modelfetch.bundle.image`) a layer is an archive of its file, and must have nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from modelfetch.bundle.documents import ARTIFACT, FILEPATH, MODELS_LIMIT, REF_NAME, digest
from modelfetch.bundle.image import IMAGE_CONFIG, check_image, check_layer_of, content_of
from modelfetch.bundle.verifier import (
    BLOBS,
    DOCUMENT_LIMIT,
    BundleError,
    NotABundleError,
    check_layout,
    layer_size,
    open_bundle,
    parse_document,
    read_document,
)
from modelfetch.errors import IntegrityError, StoreError, UnknownModelError, UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.parse import load_manifest
from modelfetch.model.registry_documents import FILE_DIGEST, MODEL_MANIFEST, OCI_MANIFEST, Document
from modelfetch.model.text import quote, sanitize

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelfetch.bundle.verifier import Bundle
    from modelfetch.model.manifest import Manifest
    from modelfetch.model.registry_documents import Descriptor

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BundledModel:
    """A model of a bundle, whose documents were verified."""

    manifest: Manifest
    sha256: str
    """Digest of the artifact's manifest, by which registries know it."""
    missing: tuple[str, ...]
    """Paths of files whose blobs are not in the bundle: it is cut off."""
    is_image: bool = False
    """Whether it is a container image, and not an artifact of ModelPack."""


def opened(path: Path) -> Bundle:
    """Open a bundle; the caller closes it.

    Args:
        path: A tar, the name or first volume of a split one, or a directory.

    Raises:
        UnknownModelError: There is nothing of this name.
        UsageError: It is not a bundle.
        IntegrityError: It is malformed.
        StoreError: It cannot be read.
    """
    try:
        return guarded(path, lambda: open_bundle(path))
    except FileNotFoundError:
        raise UnknownModelError(
            f"{sanitize(str(path))} does not exist", hint="Give the file or directory of a bundle."
        ) from None


def guarded(path: Path, call: Callable[[], T]) -> T:
    """Read from a bundle, and translate its errors.

    Raises:
        FileNotFoundError: The bundle does not exist.
        UsageError: It is not a bundle.
        IntegrityError: It is malformed.
        StoreError: It cannot be read.
    """
    where = sanitize(str(path))
    try:
        return call()
    except NotABundleError as fault:
        raise UsageError(
            f"{where} {sanitize(str(fault))}",
            hint="Give a file that `modelfetch bundle create` wrote, or the first of its volumes (.001).",
        ) from None
    except BundleError as fault:
        raise refused(path, str(fault)) from None
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        reason = getattr(error, "strerror", None) or "it is not a path"
        raise StoreError(
            f"cannot read {where}: {sanitize(str(reason))}", hint="Check the path and its permissions."
        ) from error


def refused(path: Path, fault: str) -> IntegrityError:
    """Return the error for a malformed bundle."""
    return IntegrityError(
        f"{sanitize(str(path))} is refused: {sanitize(fault)}",
        hint="Copy the bundle again, all volumes into one directory. Nothing was imported.",
    )


def models_of(bundle: Bundle) -> list[BundledModel]:
    """Return the models of a bundle, by name.

    Raises:
        BundleError: A document is missing or malformed, or two of them disagree.
        ManifestError: A TOML manifest is invalid.
        OSError: The bundle cannot be read.
    """
    check_layout(bundle)
    index = Document("", "", read_document(bundle, "index.json"))
    entries = _checked(lambda: index.descriptors("manifests"), "index.json")
    if not entries:
        raise BundleError("it has no models")
    if len(entries) > MODELS_LIMIT:
        raise BundleError(f"it has more than {MODELS_LIMIT} models")
    found: dict[str, BundledModel] = {}
    for entry in entries:
        model = _model(bundle, entry)
        # Checked at once: a thousand models could share one large TOML manifest, and each would parse it.
        if found.setdefault(model.manifest.name, model) is not model:
            raise BundleError("two of its models have the same name")
    models = [found[name] for name in sorted(found)]
    _check_sizes(models)
    return models


def _model(bundle: Bundle, entry: Descriptor) -> BundledModel:
    label = f"the manifest of {quote(entry.annotations.get(REF_NAME, entry.sha256[:12]))}"
    if entry.media_type != OCI_MANIFEST:
        raise BundleError(f"{label} is of type {quote(entry.media_type)}, not an artifact")
    _blob(bundle, entry, label)
    document = Document(entry.sha256, entry.media_type, read_document(bundle, BLOBS + entry.sha256))
    config = _checked(document.config, label)
    is_image = config is not None and config.media_type == IMAGE_CONFIG and not document.artifact_type
    if document.artifact_type != ARTIFACT and not is_image:
        raise BundleError(f"{label} has the artifact type {quote(document.artifact_type)}, not ModelPack")
    if config is None:
        raise BundleError(f"{label} has no config")
    described = _blob(bundle, config, f"the config of {label}")
    layers = _checked(lambda: document.descriptors("layers"), label)
    if is_image:
        check_image(parse_document(described, f"the config of {label}"), layers, label)
    manifest = _manifest(bundle, layers, label, is_image=is_image)
    files = [layer for layer in layers if MODEL_MANIFEST not in layer.annotations]
    _check_layers(manifest, files, label, is_image=is_image)
    missing = _missing(bundle, manifest, files, is_image=is_image)
    return BundledModel(manifest, entry.sha256, missing, is_image)


def _manifest(bundle: Bundle, layers: Sequence[Descriptor], label: str, *, is_image: bool) -> Manifest:
    """Read the TOML manifest of a model."""
    found = [layer for layer in layers if MODEL_MANIFEST in layer.annotations]
    if len(found) != 1:
        raise BundleError(f"{label} has {len(found)} layers with a manifest of modelfetch, not one")
    path = found[0].annotations.get(FILEPATH, "")
    content = _blob(bundle, found[0], f"{quote(path)} of {label}")
    return load_manifest(Path(path), content_of(content, path) if is_image else content)


def _check_layers(manifest: Manifest, layers: Sequence[Descriptor], label: str, *, is_image: bool) -> None:
    """Require that layers and TOML manifest list the same files."""
    stated = sorted(
        (
            layer.annotations.get(FILEPATH, ""),
            layer.size,
            layer.annotations.get(FILE_DIGEST, "") if is_image else layer.sha256,
        )
        for layer in layers
    )
    size_of = layer_size if is_image else int
    if stated != sorted((file.path, size_of(file.size), file.sha256) for file in manifest.files):
        raise BundleError(f"{label} does not list the files of {manifest.name}.toml")


def _missing(
    bundle: Bundle, manifest: Manifest, layers: Sequence[Descriptor], *, is_image: bool
) -> tuple[str, ...]:
    """Check the blobs of the files of a model, but not their digests.

    Returns:
        The paths of the files that a cut bundle lacks.
    """
    absent = list[str]()
    by_path = {layer.annotations[FILEPATH]: layer for layer in layers}
    for file in manifest.files:
        layer = by_path[file.path]
        size = bundle.blobs.get(layer.sha256)
        if size is None:
            absent.append(file.path)
        elif size != layer.size:
            raise BundleError(f"the blob of {file.path} has {size} bytes, not {layer.size}")
        elif is_image:
            check_layer_of(bundle, layer.sha256, file)
    if absent and not bundle.is_cut:
        raise BundleError(f"the blob of {absent[0]} is missing")
    return tuple(absent)


def _check_sizes(models: Sequence[BundledModel]) -> None:
    sizes: dict[str, int] = {}
    for file in (file for model in models for file in model.manifest.files):
        if sizes.setdefault(file.sha256, file.size) != file.size:
            raise BundleError(f"two models give different sizes of the blob {file.sha256}")


def _blob(bundle: Bundle, stated: Descriptor, label: str) -> bytes:
    """Read a small blob, whose size and digest must be as stated."""
    size = bundle.blobs.get(stated.sha256)
    if size is None:
        raise BundleError(f"{label} is missing" + (": the bundle is cut off" if bundle.is_cut else ""))
    if size != stated.size or size > DOCUMENT_LIMIT:
        raise BundleError(f"{label} has {size} bytes, not {min(stated.size, DOCUMENT_LIMIT)}")
    content = b"".join(bundle.pieces(BLOBS + stated.sha256))
    if digest(content) != stated.sha256:
        raise BundleError(f"{label} has other bytes than its digest says")
    return content


def _checked(read: Callable[[], T], label: str) -> T:
    try:
        return read()
    except ValueError as error:
        raise BundleError(f"{label}: {error}") from None
