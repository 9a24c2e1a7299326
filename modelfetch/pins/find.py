"""Finds where bytes are known: in models, in the cache, in caches of other programs, and at which sources.

The bytes are given by their SHA-256, or by a file that has them. Only that file is read; everything else is
found by digest, so a file of the cache or of another program is reported by its name, unverified. A file of
``sources.local`` is reported if an earlier run hashed it, and it has not changed since. No request is made: a
source is reported if a manifest names it for a file with this digest::

    find(workspace, target_of("a9f3b752..."))   # or the path of a file
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.cancel import Cancellation
from modelfetch.errors import ManifestError, StoreError, UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.regular_file import hint_for, open_regular
from modelfetch.model.text import quote

if TYPE_CHECKING:
    from modelfetch.sources.base import Source
    from modelfetch.store import Store
    from modelfetch.workspace import Workspace

_DIGEST: Final = re.compile(r"(?:sha256[:-])?([0-9a-f]{64})", re.IGNORECASE)
"""Also as in OCI manifests (``sha256:``) and as ollama names its blobs (``sha256-``)."""
BLOCK: Final = 1 << 20
"""Bytes of a file read at a time."""


@dataclass(frozen=True, slots=True)
class Target:
    """The bytes that are looked for."""

    sha256: str
    size: int | None
    """Size in bytes; None if only the digest was given."""


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that has a file with these bytes."""

    name: str
    version: str
    path: str
    """Path of the file in the model."""
    catalog: str
    """The catalog of the model; empty for one that is only in the cache."""
    is_present: bool
    """Whether the model is in the cache."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file outside of this cache that has these bytes, according to its name or to an earlier run."""

    program: str
    """Whose cache has it; ``local`` for a directory of ``sources.local``."""
    path: Path


@dataclass(frozen=True, slots=True)
class FoundSource:
    """A source that a manifest names for these bytes."""

    model: str
    kind: str
    host: str
    address: str
    """May contain credentials or a signature."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where bytes are known."""

    target: Target
    """With the size, if anything found states it."""
    models: tuple[FoundModel, ...]
    blob: Path | None
    """The blob in the cache."""
    placed: tuple[Path, ...]
    """Files of present models in the cache."""
    elsewhere: tuple[FoundFile, ...]
    sources: tuple[FoundSource, ...]
    faults: tuple[str, ...]
    """Messages about manifests that could not be read."""

    @property
    def is_empty(self) -> bool:
        """Whether the bytes are known nowhere."""
        return not (self.models or self.blob or self.placed or self.elsewhere)


def target_of(text: str) -> Target:
    """Read a digest, or the digest of a file.

    Raises:
        UsageError: The text is neither a SHA-256 nor the path of a file.
        StoreError: The file cannot be read.
    """
    if match := _DIGEST.fullmatch(text.strip()):
        return Target(match[1].lower(), None)
    path = Path(text)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        is_file = False
    if not is_file:
        raise UsageError(
            f"{quote(text)} is neither a SHA-256 (64 hexadecimal digits) nor a file",
            hint="`sha256sum FILE` prints the SHA-256 of a file; `modelfetch show NAME` those of a model.",
        )
    try:
        with open_regular(path) as opened:
            hasher, size = hashlib.sha256(), 0
            while block := opened.read(BLOCK):
                hasher.update(block)
                size += len(block)
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise StoreError(f"cannot read {quote(text)}: {reason}", hint=hint_for(error)) from error
    return Target(hasher.hexdigest(), size)


def find(workspace: Workspace, target: Target) -> Found:
    """Search catalogs, cache and caches of other programs; makes no request."""
    store, faults = workspace.store, list[str]()
    pinned = list(_pinned(workspace, target, faults))
    models = [
        FoundModel(
            manifest.name,
            manifest.version,
            file.path,
            workspace.catalog.entry(manifest.name).origin,
            workspace.is_present(manifest),
        )
        for manifest, file in pinned
    ]
    models += _only_in_cache(store, target, {(manifest.name, manifest.identity) for manifest, _ in pinned})
    blob = store.blob_of(target.sha256)
    size = target.size if target.size is not None else _size(store, pinned, blob)
    placed = [path for path in store.placed().get(target.sha256, ()) if store.size_of(path) is not None]
    return Found(
        Target(target.sha256, size),
        tuple(models),
        blob,
        tuple(sorted(placed)),
        tuple(_elsewhere(workspace, target.sha256)),
        tuple(_sources(workspace, pinned)),
        tuple(faults),
    )


def _pinned(workspace: Workspace, target: Target, faults: list[str]) -> Iterator[tuple[Manifest, FileSpec]]:
    """Yield the files of all catalogs with this digest; adds messages about manifests that are wrong."""
    for name in workspace.catalog.names():
        try:
            manifest = workspace.catalog.get(name)
        except ManifestError as error:
            faults.append(error.message)
            continue
        yield from ((manifest, file) for file in manifest.files if file.is_pinned(target.sha256, target.size))


def _only_in_cache(store: Store, target: Target, known: set[tuple[str, str]]) -> Iterator[FoundModel]:
    """Yield the models of the cache that no catalog pins this way: old versions, and removed pins."""
    for receipt in store.receipts():
        if (receipt.name, receipt.identity) in known:
            continue
        for file in receipt.files:
            if file.sha256 == target.sha256:
                is_present = all(store.kept(receipt.manifest(), receipt).values())
                yield FoundModel(receipt.name, receipt.version, file.path, "", is_present)


def _size(store: Store, pinned: list[tuple[Manifest, FileSpec]], blob: Path | None) -> int | None:
    if pinned:
        return pinned[0][1].size
    return store.size_of(blob) if blob is not None else None


def _elsewhere(workspace: Workspace, sha256: str) -> Iterator[FoundFile]:
    """Yield the files that other programs keep under this digest, and those that were hashed before."""
    from modelfetch.engine.known_digests import HistoryDigests
    from modelfetch.sources.hf_cache import HuggingFaceCache
    from modelfetch.sources.ollama_cache import OllamaCache

    file = FileSpec("any", 0, sha256)
    manifest = Manifest("any", "1", (file,))
    loaded = workspace.loaded
    for path in HuggingFaceCache(loaded.hf_cache).exact(manifest, file):
        yield FoundFile("huggingface", path)
    for path in OllamaCache(loaded.ollama_models).exact(manifest, file):
        yield FoundFile("ollama", path)
    days = loaded.settings.history.days
    for path in HistoryDigests(loaded.cache_dir, days, Cancellation()).paths_of(sha256):
        yield FoundFile("local", path)


def _sources(workspace: Workspace, pinned: list[tuple[Manifest, FileSpec]]) -> Iterator[FoundSource]:
    """Yield what could deliver the files, in the order of the settings; each address once."""
    if not pinned:
        return
    from modelfetch.net.client import Client
    from modelfetch.net.time_limits import Limits
    from modelfetch.sources.base import HttpOffer, SourceContext
    from modelfetch.sources.registry import make_sources

    client = Client(Limits(), Cancellation())  # makes no connection before a request
    try:
        made = make_sources(SourceContext(workspace.loaded, client, workspace.store, Cancellation()))
        order: list[Source] = [made[kind] for kind in workspace.loaded.settings.sources.order if kind in made]
        seen = set[str]()
        for source in order:
            for manifest, file in pinned if source.kind != "local" else ():
                for offer in source.offers(manifest, file):
                    # Another offer is none: it stands for an address that is wrong.
                    if isinstance(offer, HttpOffer) and offer.address not in seen:
                        seen.add(offer.address)
                        yield FoundSource(manifest.name, source.kind, offer.host, offer.address)
    finally:
        client.close()
