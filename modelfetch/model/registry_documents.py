"""Values of OCI manifests, read from untrusted JSON. Pure.

A manifest lists blobs by descriptors. Each one gives media type, digest and size of a blob::

    {"mediaType": "application/vnd.cncf.model.weight.v1.raw", "digest": "sha256:...", "size": 123,
     "annotations": {"org.cncf.model.filepath": "model.safetensors"}}

Inline ``data`` and ``urls`` of descriptors are ignored: every blob is read from its own registry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.decode import LIMIT

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
MODELPACK: Final = frozenset(
    {"application/vnd.cncf.model.manifest.v1+json", "application/vnd.cnai.model.manifest.v1+json"}
)
"""Artifact types of ModelPack: of the specification, and of its predecessor."""
MODEL_MANIFEST: Final = "io.modelfetch.manifest"
"""Annotation of the layer of a bundle that is the manifest of the model, and not one of its files."""
FILE_DIGEST: Final = "io.modelfetch.sha256"
"""Annotation of a layer of an image from a bundle: SHA-256 of the file in it, in hexadecimal."""

_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_DESCRIPTORS: Final = 20_001
"""Most layers or entries: those of the largest allowed model, and the manifest that a bundle adds."""
_MEDIA_TYPE: Final = 255
"""Most characters of a media type: two names of 127 and a slash (RFC 6838, 4.2). A document has room for one
of millions, and rules that look for its end would take hours."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob or manifest, as another document describes it."""

    media_type: str
    sha256: str
    """64 lowercase hexadecimal digits."""
    size: int
    annotations: Mapping[str, str]
    artifact_type: str = ""
    platform: str = ""
    """``os/architecture``, or empty."""
    name: str = ""
    """Name of a layer in an ollama model; empty elsewhere."""


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index whose bytes have this digest."""

    sha256: str
    media_type: str
    content: Mapping[str, Any]

    @property
    def artifact_type(self) -> str:
        """``artifactType``, or empty."""
        return text(self.content.get("artifactType"))

    @property
    def annotations(self) -> Mapping[str, str]:
        """Annotations that are texts."""
        return _annotations(self.content.get("annotations"))

    def config(self) -> Descriptor | None:
        """The blob with metadata, if there is one.

        Raises:
            ValueError: Its descriptor is malformed.
        """
        found = self.content.get("config")
        return None if found is None else descriptor(found, "config")

    def descriptors(self, key: str) -> list[Descriptor]:
        """The list ``layers`` or ``manifests``.

        Raises:
            ValueError: It is no list of descriptors.
        """
        items = self.content.get(key)
        if not isinstance(items, list):
            raise ValueError(f"{key} is not a list")  # noqa: TRY004 - of the data, not of the call
        if len(items) > _DESCRIPTORS:
            raise ValueError(f"{key} has more than {_DESCRIPTORS} entries")
        return [descriptor(item, f"{key}[{number}]") for number, item in enumerate(items)]


def descriptor(item: object, where: str) -> Descriptor:
    """Read a descriptor.

    Raises:
        ValueError: It is malformed; the message begins with ``where``.
    """
    if not isinstance(item, dict):
        raise ValueError(f"{where} is not an object")  # noqa: TRY004
    media_type, size = text(item.get("mediaType")), item.get("size")
    # Other algorithms cannot become the pinned SHA-256.
    digest = _DIGEST.fullmatch(text(item.get("digest")))
    if not digest:
        raise ValueError(f"{where}.digest is not sha256: and 64 lowercase hexadecimal digits")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < LIMIT:
        raise ValueError(f"{where}.size is not a whole number from 0")
    if not 0 < len(media_type) <= _MEDIA_TYPE:
        raise ValueError(f"{where}.mediaType is not a text of at most {_MEDIA_TYPE} characters")
    return Descriptor(
        media_type,
        digest[1],
        size,
        _annotations(item.get("annotations")),
        artifact_type=text(item.get("artifactType")),
        platform=_platform(item.get("platform")),
        name=text(item.get("name")),
    )


def text(value: object) -> str:
    """A text; empty if the value is anything else."""
    return value if isinstance(value, str) else ""


def _annotations(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: each for key, each in value.items() if isinstance(each, str)}


def _platform(value: object) -> str:
    if not isinstance(value, dict):
        return ""
    return f"{text(value.get('os'))}/{text(value.get('architecture'))}"
