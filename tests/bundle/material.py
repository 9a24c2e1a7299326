"""A small bundle in parts, so that tests can spoil each of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelfetch.bundle.bundled_models import BundledModel, guarded, models_of, opened, refused
from modelfetch.bundle.documents import LAYOUT, artifact_of, digest, index
from modelfetch.bundle.image import image_of, parts_of, toml_layer
from modelfetch.bundle.tar_format import END, header, padding
from modelfetch.bundle.verifier import BLOBS
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.write import manifest_toml

CONTENTS: Mapping[str, bytes] = {"config.json": b"{}", "onnx/model.onnx": bytes(range(256)) * 9}


def manifest_of(contents: Mapping[str, bytes], name: str = "tiny", version: str = "1") -> Manifest:
    """A model with these files."""
    files = tuple(FileSpec(path, len(data), digest(data)) for path, data in contents.items())
    return Manifest(name, version, files)


@dataclass
class Parts:
    """A bundle of one model; :meth:`spoil` replaces its documents."""

    members: dict[str, bytes]
    index: dict[str, Any]
    manifest: dict[str, Any]
    toml: bytes
    name: str = field(default="tiny")

    def seal(self) -> Parts:
        """Write the manifest into the blobs and the index, as it is now."""
        data = compact(self.manifest)
        self.members[BLOBS + digest(data)] = data
        self.index["manifests"][0] |= {"digest": f"sha256:{digest(data)}", "size": len(data)}
        self.members["index.json"] = compact(self.index)
        return self

    def replace_toml(self, toml: bytes) -> Parts:
        """Use another TOML manifest, correctly described."""
        self.members[BLOBS + digest(toml)] = toml
        self.manifest["layers"][-1] |= {"digest": f"sha256:{digest(toml)}", "size": len(toml)}
        self.toml = toml
        return self.seal()

    def tar(self) -> bytes:
        """The archive."""
        return archive(self.members.items())


def parts(contents: Mapping[str, bytes] = CONTENTS) -> Parts:
    """A good bundle."""
    manifest = manifest_of(contents)
    artifact, toml = artifact_of(manifest)
    blobs = {BLOBS + digest(data): data for data in (*contents.values(), toml, artifact.config)}
    blobs[BLOBS + digest(artifact.manifest)] = artifact.manifest
    members = {"oci-layout": LAYOUT, "index.json": index([artifact])} | dict(sorted(blobs.items()))
    return Parts(members, json.loads(index([artifact])), json.loads(artifact.manifest), toml)


def layer_of(path: str, data: bytes, *, executable: bool = False) -> bytes:
    """A layer of an image."""
    around = parts_of(path, len(data), executable=executable)
    return around.head + data + around.tail


def image_parts(contents: Mapping[str, bytes] = CONTENTS, programs: Sequence[str] = ()) -> Parts:
    """A good bundle of an image."""
    manifest = manifest_of(contents)
    files = tuple(replace(file, executable=file.path in programs) for file in manifest.files)
    manifest = replace(manifest, files=files, kind="worker" if programs else manifest.kind)
    layers = {
        file: layer_of(file.path, contents[file.path], executable=file.executable) for file in manifest.files
    }
    artifact = image_of(manifest, {file: digest(data) for file, data in layers.items()})
    own = (toml_layer(manifest), artifact.config, artifact.manifest)
    blobs = {BLOBS + digest(data): data for data in (*layers.values(), *own)}
    members = {"oci-layout": LAYOUT, "index.json": index([artifact])} | dict(sorted(blobs.items()))
    toml = manifest_toml(manifest).encode()
    return Parts(members, json.loads(index([artifact])), json.loads(artifact.manifest), toml)


def compact(document: object) -> bytes:
    """JSON as bundles have it."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def archive(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar with these members."""
    return b"".join(header(name, len(data)) + data + padding(len(data)) for name, data in members) + END


def read(path: Path) -> list[BundledModel]:
    """Read what an import reads before the first blob: documents, headers and sizes."""
    bundle = opened(path)
    try:
        models = guarded(path, lambda: models_of(bundle))
    finally:
        bundle.close()
    if any(model.missing for model in models):
        raise refused(path, "cut")
    return models
