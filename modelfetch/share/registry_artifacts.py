"""The artifacts of a registry: what ``bundle`` would make of a pinned model, without its files. Pure.

A model becomes the artifact of :mod:`modelfetch.bundle.documents`, always with the same bytes. So its digest
is that of the same model in a bundle, and in any registry that a bundle was pushed to::

    manifests/1846881b6b3a        the manifest, by the model's version or ``latest``, or by its digest
    blobs/sha256:<config>         small documents, made from the manifest of the model
    blobs/sha256:<manifest.toml>
    blobs/sha256:<file>           a file, from the cache

Errors are those of the OCI distribution specification 1.1, section "Error codes"::

    {"errors":[{"code":"MANIFEST_UNKNOWN","message":"...","detail":null}]}
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from modelfetch.bundle.documents import artifact_of, digest
from modelfetch.bundle.writer import check_name
from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.registry_documents import OCI_MANIFEST
from modelfetch.settings.redaction import redact
from modelfetch.share.model_index import PinnedFile

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.share.model_index import RegistryRepo

_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_HUBS: Final = ("hf:", "ms:", "gh:", "oci:", "ollama:", "ipfs:")
"""How references begin that any machine can resolve; others may be paths."""
_KEPT: Final = 16
"""Artifacts that are kept; each takes about 400 bytes a file. Clients request several blobs of one model."""


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest, or a blob that is made here."""

    sha256: str
    content: bytes
    media_type: str = "application/octet-stream"


class Artifacts:
    """Makes the artifacts of models. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[int, tuple[Manifest, _Artifact | None]] = OrderedDict()
        """By ``id`` of the model's manifest, which is kept so that its id is not reused."""

    def manifest(self, repo: RegistryRepo, reference: str, *, tags: bool = True) -> Document | None:
        """Find a manifest.

        Args:
            repo: The repository.
            reference: A tag, or a digest.
            tags: Whether tags are known.
        """
        sha256 = sha256_of(reference)
        if sha256 is None:
            model = repo.tags().get(reference) if tags else None
            artifact = self._of(model) if model is not None else None
            return artifact.manifest if artifact is not None else None
        return next((each.manifest for each in self._all(repo) if each.manifest.sha256 == sha256), None)

    def blob(self, repo: RegistryRepo, reference: str) -> Document | PinnedFile | None:
        """Find a blob by its digest: a small document, or a file that the cache may have."""
        sha256 = sha256_of(reference)
        if sha256 is None:
            return None
        # Files first: they are found without making the artifacts of all models of the repository.
        for manifest in repo.manifests:
            for file in manifest.files:
                if file.sha256 == sha256 and self._of(manifest) is not None:
                    return PinnedFile(manifest, file)
        documents = (document for artifact in self._all(repo) for document in artifact.blobs)
        return next((document for document in documents if document.sha256 == sha256), None)

    def tags(self, repo: RegistryRepo) -> list[str]:
        """Return the tags of a repository, sorted."""
        return sorted(tag for tag, model in repo.tags().items() if self._of(model) is not None)

    def _all(self, repo: RegistryRepo) -> Iterator[_Artifact]:
        """Yield the artifacts of a repository, those that were made a moment ago first."""
        with self._lock:
            made = set(self._made)
        for manifest in sorted(repo.manifests, key=lambda each: id(each) not in made):
            artifact = self._of(manifest)
            if artifact is not None:
                yield artifact

    def _of(self, manifest: Manifest) -> _Artifact | None:
        with self._lock:
            known = self._made.get(id(manifest))
            if known is None:
                known = manifest, _artifact(manifest)
                self._made[id(manifest)] = known
            self._made.move_to_end(id(manifest))
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
            return known[1]


@dataclass(frozen=True, slots=True)
class _Artifact:
    """The artifact of one model, without its files."""

    manifest: Document
    blobs: tuple[Document, ...]


def _artifact(model: Manifest) -> _Artifact | None:
    """Make the artifact of a model; None if it has a file of the name of its manifest."""
    try:
        check_name(model)
    except UsageError:
        return None
    made, toml = artifact_of(without_secrets(model))
    manifest = Document(digest(made.manifest), made.manifest, OCI_MANIFEST)
    return _Artifact(manifest, tuple(Document(digest(blob), blob) for blob in (made.config, toml)))


def without_secrets(model: Manifest) -> Manifest:
    """Leave out what its owner may not want to publish: addresses with credentials, and paths of this disk.

    The manifest is a layer of the artifact, so every client that pulls the model can read it. Of nearly all
    models nothing is left out.
    """
    files = tuple(
        file if all(map(_is_public, file.urls)) else replace(file, urls=tuple(filter(_is_public, file.urls)))
        for file in model.files
    )
    mirrors = tuple(filter(_is_public, model.mirrors))
    homepage, swarm = model.homepage, model.swarm
    if not _is_public(homepage):
        homepage = ""
    if swarm is not None and not all(map(_is_public, swarm.trackers)):  # such as with a passkey
        swarm = replace(swarm, trackers=tuple(filter(_is_public, swarm.trackers)))
    upstream = model.upstream if model.upstream is not None and _is_hub(model.upstream.ref) else None
    return replace(model, files=files, mirrors=mirrors, homepage=homepage, swarm=swarm, upstream=upstream)


def _is_public(url: str) -> bool:
    """Whether an address has no part that may be a secret."""
    return redact(url) == url


def _is_hub(ref: str) -> bool:
    """Whether a reference names something on a hub, or at a public address."""
    return ref.startswith(_HUBS) or (ref.startswith("https://") and _is_public(ref))


def sha256_of(reference: str) -> str | None:
    """Return the digest of a reference in hexadecimal; None if it is not ``sha256:`` and a digest."""
    found = _DIGEST.fullmatch(reference)
    return found[1] if found is not None else None


def page(tags: Sequence[str], last: str, count: int | None) -> list[str]:
    """Return a page of tags: those behind ``last``, ``count`` at most (distribution-spec, "Listing Tags")."""
    behind = [tag for tag in tags if tag > last]
    return behind if count is None else behind[:count]


def error(code: str, message: str) -> dict[str, Any]:
    """Return the document of an error."""
    return {"errors": [{"code": code, "message": message, "detail": None}]}
