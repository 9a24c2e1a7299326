"""The JSON documents of a bundle: ``oci-layout``, index, manifests and configs. Pure.

A model becomes one ModelPack artifact. Its layers are raw, so the digest of a layer is that of the file::

    {"artifactType": "application/vnd.cncf.model.manifest.v1+json", "config": {...}, "layers": [
        {"annotations": {"org.cncf.model.filepath": "config.json", ...}, "digest": "sha256:...",
         "mediaType": "application/vnd.cncf.model.weight.config.v1.raw", "size": 2}, ...], ...}

The last layer is the manifest of modelfetch, in TOML. The same model always becomes the same bytes: keys are
sorted, there is no white space, and nothing has a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.registry_documents import MODEL_MANIFEST, OCI_INDEX, OCI_MANIFEST
from modelfetch.model.write import manifest_toml

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest

ARTIFACT: Final = "application/vnd.cncf.model.manifest.v1+json"
CONFIG: Final = "application/vnd.cncf.model.config.v1+json"
FILEPATH: Final = "org.cncf.model.filepath"
TITLE: Final = "org.opencontainers.image.title"
"""The name that ORAS gives to a file."""
REF_NAME: Final = "org.opencontainers.image.ref.name"
LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
MODELS_LIMIT: Final = 1000
"""Most models of a bundle; each costs at least three reads before the first byte is imported."""

_FORMATS: Final = frozenset({"onnx", "gguf", "safetensors"})
"""Formats that readers of ModelPack know by these names."""
_CODE: Final = (".py", ".sh", ".ipynb", ".js", ".ts", ".c", ".cc", ".cpp", ".h", ".cu", ".rs", ".go", ".lua")
_DOCS: Final = (".md", ".txt", ".rst", ".pdf", ".html", ".png", ".jpg", ".jpeg", ".svg", ".gif")
_CONFIGS: Final = (".json", ".jsonl", ".toml", ".yaml", ".yml", ".ini", ".cfg", ".jinja", ".xml")
_DOC_NAMES: Final = ("license", "licence", "readme", "notice", "copying", "use_policy")
_CONFIG_NAMES: Final = frozenset({"tokenizer.model", "merges.txt", "vocab.txt", "spiece.model"})


@dataclass(frozen=True, slots=True)
class Layer:
    """A file of an artifact."""

    path: str
    size: int
    sha256: str
    kind: str
    """``weight``, ``weight.config``, ``doc``, ``code`` or ``dataset``."""
    annotations: Mapping[str, str]
    """Besides those that name the file."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """The documents of one model."""

    name: str
    """Its name in the index: ``NAME:VERSION``."""
    layers: tuple[Layer, ...]
    config: bytes
    manifest: bytes
    artifact_type: str = ARTIFACT
    """Empty for a container image (:mod:`modelfetch.bundle.image`)."""


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes, as 64 lowercase hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def artifact_of(manifest: Manifest) -> tuple[Artifact, bytes]:
    """Make the documents of a model.

    Returns:
        The artifact, and the TOML manifest that is its last layer.
    """
    toml = manifest_toml(manifest).encode()
    layers = [
        Layer(file.path, file.size, file.sha256, kind_of(file.path, manifest.kind), {})
        for file in sorted(manifest.files, key=lambda file: file.path)
    ]
    layers.append(Layer(toml_name(manifest), len(toml), digest(toml), "doc", {MODEL_MANIFEST: "1"}))
    config = {"format": manifest.format} if manifest.format in _FORMATS else {}
    return artifact(f"{manifest.name}:{manifest.version}", layers, _description(manifest), config), toml


def toml_name(manifest: Manifest) -> str:
    """Return the path of the layer with the TOML manifest."""
    return f"{manifest.name}.toml"


def artifact(
    name: str, layers: Sequence[Layer], description: Mapping[str, Any], config: Mapping[str, str]
) -> Artifact:
    """Make the documents of an artifact.

    Args:
        name: Its name in the index.
        layers: Its files, in order.
        description: Object ``descriptor`` of the config (ModelPack, config schema).
        config: Object ``config`` of the config.
    """
    # Raw layers are not compressed, so the digests of their content are those of their blobs.
    diff_ids = [f"sha256:{layer.sha256}" for layer in layers]
    modelfs = {"type": "layers", "diffIds": diff_ids}
    described = compact_json({"descriptor": description, "config": config, "modelfs": modelfs})
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": ARTIFACT,
        "config": descriptor_of(CONFIG, digest(described), len(described)),
        "layers": [_layer(layer) for layer in layers],
    }
    return Artifact(name, tuple(layers), described, compact_json(document))


def index(artifacts: Sequence[Artifact]) -> bytes:
    """Make ``index.json``, with the artifacts in the order of their names."""
    entries = [
        descriptor_of(OCI_MANIFEST, digest(each.manifest), len(each.manifest))
        | ({"artifactType": each.artifact_type} if each.artifact_type else {})
        | {"annotations": {REF_NAME: each.name}}
        for each in sorted(artifacts, key=lambda each: each.name)
    ]
    return compact_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def kind_of(path: str, kind: str = "model") -> str:
    """Return the kind of layer that a file becomes, by its name; what is not known counts as weights.

    Args:
        path: Path of the file.
        kind: Kind of the model; all files of a dataset are data.
    """
    name = path.rpartition("/")[2].lower()
    if kind == "dataset":
        return "dataset"
    if name in _CONFIG_NAMES or name.endswith(_CONFIGS):
        return "weight.config"
    if name.endswith(_CODE):
        return "code"
    return "doc" if name.endswith(_DOCS) or name.startswith(_DOC_NAMES) else "weight"


def _description(manifest: Manifest) -> dict[str, Any]:
    """What the manifest states about the model. There is no ``createdAt``: it would differ at every run."""
    revision = manifest.huggingface.revision if manifest.huggingface else ""
    stated = {
        "name": manifest.name,
        "version": manifest.version,
        "title": manifest.title,
        "licenses": [manifest.license] if manifest.license else [],
        "sourceURL": manifest.homepage,
        "revision": revision or (manifest.modelscope.revision if manifest.modelscope else ""),
    }
    return {key: value for key, value in stated.items() if value}


def _layer(layer: Layer) -> dict[str, Any]:
    names = {FILEPATH: layer.path, TITLE: layer.path}
    media_type = f"application/vnd.cncf.model.{layer.kind}.v1.raw"
    return descriptor_of(media_type, layer.sha256, layer.size) | {
        "annotations": {**names, **layer.annotations}
    }


def descriptor_of(media_type: str, sha256: str, size: int) -> dict[str, Any]:
    """Return the descriptor of a blob (image-spec, descriptor.md)."""
    return {"mediaType": media_type, "digest": f"sha256:{sha256}", "size": size}


def compact_json(document: object) -> bytes:
    """Return a document as JSON with sorted keys and no white space."""
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
