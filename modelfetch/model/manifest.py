"""The values of a manifest: the files of a model and the sources that may deliver them.

The values are frozen and were validated by :mod:`modelfetch.model.parse`. Sources are hints: the size and
SHA-256 of a file decide whether its data is accepted, whichever source it came from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Final, Literal

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.source_kinds import SourceKind
from modelfetch.model.text import did_you_mean, quote

Kind = Literal["model", "worker", "dataset"]
Task = Literal["speech", "text", "embedding", "vision", "audio", "other"]
Format = Literal["onnx", "gguf", "ggml", "safetensors", "pytorch", "ctranslate2", "other"]
RepoType = Literal["model", "dataset", "space"]
ModelScopeType = Literal["model", "dataset"]

_PERMISSIVE: Final = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSD-3-Clause-Clear",
        "BSL-1.0",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "Unlicense",
        "Zlib",
    }
)
"""SPDX identifiers of licenses that require no more than keeping a notice."""


@dataclass(frozen=True, slots=True)
class FileSpec:
    """One file, pinned by size and digest, with sources of its own."""

    path: str
    """Path in the model's directory: relative, with ``/``, safe on every operating system."""
    size: int
    """Exact size in bytes."""
    sha256: str
    """64 lowercase hexadecimal digits."""
    cid: str | None = None
    """The file's own IPFS CID."""
    huggingface_path: str | None = None
    """Its path in the Hugging Face repository, if different from ``path``."""
    urls: tuple[str, ...] = ()
    executable: bool = False
    """Whether the placed file has the execute bits, as a worker or tool needs."""

    def is_pinned(self, sha256: str, size: int | None = None) -> bool:
        """Whether bytes are those of this file. Every comparison with the pinned digest is this one.

        Args:
            sha256: The SHA-256 of the bytes, in lowercase hexadecimal.
            size: Their number, where that was not compared before the bytes were hashed.
        """
        return sha256 == self.sha256 and size in (None, self.size)


@dataclass(frozen=True, slots=True)
class HuggingFaceRepo:
    """A Hugging Face repository at one commit."""

    repo: str
    """``owner/name``."""
    revision: str
    """The full commit: 40 lowercase hexadecimal digits."""
    type: RepoType = "model"


@dataclass(frozen=True, slots=True)
class ModelScopeRepo:
    """A ModelScope repository."""

    repo: str
    """``owner/name``."""
    revision: str
    """A commit where the hub has one, else a branch or tag: the digests of the files decide."""
    type: ModelScopeType = "model"


@dataclass(frozen=True, slots=True)
class SwarmTorrent:
    """The BitTorrent v2 torrent of a model: table ``[swarm]``, written by ``swarm publish``."""

    infohash: str
    """SHA-256 of its info dictionary: 64 lowercase hexadecimal digits."""
    trackers: tuple[str, ...] = ()
    """Announce URLs, http, https or udp."""


@dataclass(frozen=True, slots=True)
class PinOrigin:
    """Where a pin came from: table ``[upstream]``, written by ``add`` and compared by ``outdated``."""

    ref: str
    """The reference, in its canonical form."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    added: str = ""
    """Date: ``YYYY-MM-DD``."""
    stated: str = ""
    """Who stated the digests; ``computed`` if they were computed here from one source alone."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A model: its pinned files, and the sources that may deliver them."""

    name: str
    version: str
    """Becomes the name of a directory, so that a new version never overwrites an old one."""
    files: tuple[FileSpec, ...]
    kind: Kind = "model"
    title: str = ""
    license: str = ""
    """As stated by the publisher; an SPDX identifier where one exists."""
    homepage: str = ""
    huggingface: HuggingFaceRepo | None = None
    modelscope: ModelScopeRepo | None = None
    oci: str | None = None
    """``REGISTRY/REPOSITORY`` whose blobs are addressed by the files' own SHA-256."""
    ipfs_cid: str | None = None
    """CID of a directory that has the files under their paths."""
    mirrors: tuple[str, ...] = ()
    """URL templates with ``{path}``, ``{sha256}``, ``{name}``, ``{version}``."""
    swarm: SwarmTorrent | None = None
    """Its torrent. The infohash finds peers; it vouches for nothing."""
    task: Task | None = None
    """What the model does."""
    format: Format | None = None
    """How its weights are stored."""
    upstream: PinOrigin | None = None
    license_notice: str = ""
    """Note about the license for the user; from the built-in catalog, never from a manifest's TOML."""
    skeleton: str | None = None
    """Path of the CAR file beside the manifest that has the chunk maps of its files; never from TOML."""
    torrent: str | None = None
    """Path of the torrent file beside the manifest; never from TOML."""

    @property
    def size(self) -> int:
        """Size of all files together, in bytes."""
        return sum(file.size for file in self.files)

    @property
    def identity(self) -> str:
        """SHA-256 of the pinned files, in hexadecimal.

        It covers the sorted ``[path, size, sha256]`` triples as JSON without white space, in UTF-8. Sources,
        titles and the order in the manifest are not part of it.
        """
        return _identity(self.files)

    def named_sources(self) -> Iterator[tuple[SourceKind, str]]:
        """Yield the sources of the whole model: their kind, and the repository, CID or URL template.

        A template may contain credentials. The URLs of single files are not included.
        """
        if self.huggingface is not None:
            yield SourceKind.HUGGINGFACE, f"{self.huggingface.repo} @ {self.huggingface.revision}"
        if self.modelscope is not None:
            yield SourceKind.MODELSCOPE, f"{self.modelscope.repo} @ {self.modelscope.revision}"
        if self.ipfs_cid is not None:
            yield SourceKind.IPFS, self.ipfs_cid
        if self.oci is not None:
            yield SourceKind.OCI, self.oci
        for template in self.mirrors:
            yield SourceKind.MIRROR, template

    def file(self, path: str) -> FileSpec:
        """Find a file by its path.

        Raises:
            UsageError: The model has no such file.
        """
        for file in self.files:
            if file.path == path:
                return file
        guess = did_you_mean(path, (file.path for file in self.files))
        raise UsageError(
            f"{self.name} has no file {quote(path)}.{guess}",
            hint=f"`modelfetch show {self.name}` lists its files.",
        )


_KNOWN: Final[dict[int, tuple[tuple[FileSpec, ...], str]]] = {}
"""Identities by ``id`` of the tuple of files. The tuple is kept, so that its id is not reused."""
_MOST_KNOWN: Final = 256
"""Most cached identities; more than a catalog has models."""


def _identity(files: tuple[FileSpec, ...]) -> str:
    """Compute an identity once: it takes 50 ms for 20,000 files, and every look-up in the cache needs it."""
    known = _KNOWN.get(id(files))
    if known is not None and known[0] is files:
        return known[1]
    facts = sorted([file.path, file.size, file.sha256] for file in files)
    canonical = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
    found = hashlib.sha256(canonical.encode()).hexdigest()
    if len(_KNOWN) >= _MOST_KNOWN:
        _KNOWN.clear()
    _KNOWN[id(files)] = files, found
    return found


NO_LICENSE: Final = "no license is stated"
"""Notice about a model whose publisher states no license."""


def is_permissive(license: str) -> bool:  # noqa: A002 - the field's name, as callers write it
    """Return whether a license needs no notice before the first download, by its exact SPDX identifier."""
    return license in _PERMISSIVE
