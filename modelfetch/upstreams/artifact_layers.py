"""File names of the layers of OCI artifacts. Pure.

A layer becomes a file if its blob is the file itself. The name is an annotation, or follows from the type:

===============================================  ======================================================
``application/vnd.cncf.model.KIND.v1.raw``       ModelPack: annotation ``org.cncf.model.filepath``
``application/vnd.docker.ai.KIND``               Docker Model Runner: the same annotation, or a fixed name
``application/vnd.ollama.image.KIND``            ollama: a fixed name
any other type                                   ORAS: annotation ``org.opencontainers.image.title``
===============================================  ======================================================

A layer that is an archive is refused: the digest of its blob is not that of the files in it, so these could
be neither pinned nor fetched by their own digests.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.errors import UsageError
from modelfetch.model.text import quote

if TYPE_CHECKING:
    from modelfetch.model.registry_documents import Descriptor

_MODELPACK: Final = ("application/vnd.cncf.model.", "application/vnd.cnai.model.")
_DOCKER: Final = "application/vnd.docker.ai."
_KITOPS: Final = "application/vnd.kitops."
_OLLAMA: Final = "application/vnd.ollama.image."
_FILEPATHS: Final = ("org.cncf.model.filepath", "org.cnai.model.filepath")
"""ModelPack's annotation, and that of the specification before it."""
_TITLE: Final = "org.opencontainers.image.title"
_UNPACK: Final = "io.deis.oras.content.unpack"
"""``true`` if a client is to unpack the layer, which was a directory (ORAS)."""
_DIRECTORIES: Final = frozenset(
    {"application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd"}
)
"""Types of directories that were packed for the push."""
_PACKED: Final = (".gz", ".tgz", ".zst")
_ARCHIVE: Final = re.compile(r"[.+/-](?:tar|gzip|tgz|zstd|zip)(?:[.+](?:tar|gzip|zstd))*$")
"""The end of media types of archives, such as ``.v1.tar+gzip`` and ``.diff.tar.gzip``."""

_DOCKER_NAMES: Final = {
    "gguf.v3": "model.gguf",
    "gguf.v3.lora": "adapter.gguf",
    "safetensors": "model.safetensors",
    "dduf": "model.dduf",
    "mmproj": "mmproj.gguf",
    "license": "LICENSE",
    "chat.template.jinja": "chat_template.jinja",
}
_SHARDED: Final = frozenset({"model.gguf", "model.safetensors"})
"""Names whose layers are parts of one model, in order. llama.cpp finds them by ``-00001-of-00003``."""
_OLLAMA_NAMES: Final = {
    "projector": "mmproj.gguf",
    "adapter": "adapter.gguf",
    "draft": "draft.gguf",
    "template": "template.txt",
    "system": "system.txt",
    "prompt": "prompt.txt",
    "license": "LICENSE",
    "params": "params.json",
    "messages": "messages.json",
}
_HOW: Final = "Unpack it and pin the directory, or ask the publisher for an artifact with raw layers."


def named_layers(layers: Sequence[Descriptor], model: str) -> list[tuple[str, Descriptor]]:
    """Name the layers of an artifact.

    Args:
        layers: In the order of the manifest.
        model: Name for the weights of an ollama model, without an extension.

    Returns:
        Path and layer. A path that is there twice with the same digest is returned once.

    Raises:
        UsageError: A layer is an archive, has no name, or has the path of another one.
    """
    found: dict[str, Descriptor] = {}
    for path, layer in zip(_paths(layers, model), layers, strict=True):
        if found.setdefault(path, layer).sha256 != layer.sha256:
            raise UsageError(f"two layers of the artifact have the path {quote(path)} and other bytes")
    return list(found.items())


def _paths(layers: Sequence[Descriptor], model: str) -> Iterable[str]:
    fixed = [_fixed_name(layer, model) for layer in layers]
    total, seen = Counter(fixed), Counter[str]()
    for layer, name in zip(layers, fixed, strict=True):
        _check_no_archive(layer)
        if path := _stated_path(layer):
            yield path
        elif name:
            seen[name] += 1
            yield _numbered(name, seen[name], total[name])
        else:
            raise UsageError(
                f"a layer of type {quote(layer.media_type)} has no file name, so it cannot be pinned",
                hint="Supported are ModelPack, Docker Model Runner, ollama, and files pushed with ORAS.",
            )


def _fixed_name(layer: Descriptor, model: str) -> str:
    """The name that follows from the type of a layer without a path; empty if there is none."""
    if _stated_path(layer):
        return ""
    kind = layer.media_type
    if kind.startswith(_DOCKER):
        return _DOCKER_NAMES.get(kind.removeprefix(_DOCKER), "")
    if not kind.startswith(_OLLAMA):
        return ""
    kind = kind.removeprefix(_OLLAMA)
    return f"{model}.gguf" if kind == "model" else _OLLAMA_NAMES.get(kind, "")


def _stated_path(layer: Descriptor) -> str:
    """The path that a layer states; of ollama's layers some have a name."""
    stated = (layer.annotations.get(key, "") for key in (*_FILEPATHS, _TITLE))
    is_ollama = layer.media_type.startswith(_OLLAMA)
    return next(filter(None, stated), layer.name if is_ollama else "")


def _numbered(name: str, number: int, total: int) -> str:
    """The name of one of several layers with the same name."""
    stem, dot, extension = name.rpartition(".")
    if total == 1:
        return name
    if name in _SHARDED:
        return f"{stem}-{number:05}-of-{total:05}.{extension}"
    if number == 1:
        return name
    return f"{stem}-{number}.{extension}" if dot else f"{name}.{number}"


def _is_titled_file(kind: str, path: str) -> bool:
    """Whether a layer with the type of an archive is the file that its title names.

    ORAS gives plain files the type ``...layer.v1.tar`` by default, and its Python version marks a directory
    by ``...layer.v1.tar+gzip`` alone. A title such as ``weights.tar.gz`` is that of the archive itself.
    """
    if kind.startswith((_DOCKER, _KITOPS)):
        return False
    return bool(path) and (kind not in _DIRECTORIES or path.endswith(_PACKED))


def _check_no_archive(layer: Descriptor) -> None:
    """Raise UsageError if the blob is not the file itself."""
    kind, path = layer.media_type, _stated_path(layer)
    if kind.startswith(_MODELPACK):
        is_archive = not kind.endswith(".raw")
    else:
        is_archive = layer.annotations.get(_UNPACK) == "true" or (
            bool(_ARCHIVE.search(kind)) and not _is_titled_file(kind, path)
        )
    if is_archive:
        what = f"the layer {quote(path)}" if path else "a layer"
        raise UsageError(f"{what} is an archive ({quote(kind)}), which cannot be pinned by file", hint=_HOW)
