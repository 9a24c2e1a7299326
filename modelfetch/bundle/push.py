"""Pushes models to OCI registries: the artifacts of a bundle, without the bundle.

The documents are those that ``bundle create`` writes (:mod:`modelfetch.bundle.documents`), so a model has the
same digest in a registry as in a bundle. For each model, in this order::

    HEAD each blob      those that the repository has are skipped
    upload the others   files, TOML manifest, config
    PUT the manifest    last, under its tag: what it lists is there by then

A push that was interrupted skips what it has sent when it is run again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modelfetch.bundle.blob_upload import Blob, BlobUpload, Sent, Watch
from modelfetch.bundle.bundled_models import guarded, refused
from modelfetch.bundle.documents import FILEPATH, artifact_of, digest
from modelfetch.bundle.verifier import BLOBS
from modelfetch.bundle.writer import check_name, files_of
from modelfetch.errors import AuthorizationError, Fault, IntegrityError, SourceError, UnavailableError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.registry_documents import OCI_MANIFEST, Document
from modelfetch.model.text import sanitize
from modelfetch.net.registry_uploads import RegistryUploads
from modelfetch.net.registry_urls import PLAIN_HINT

if TYPE_CHECKING:
    from modelfetch.bundle.bundled_models import BundledModel
    from modelfetch.bundle.upload_notes import UploadNotes
    from modelfetch.bundle.verifier import Bundle
    from modelfetch.errors import ModelfetchError
    from modelfetch.model.manifest import Manifest
    from modelfetch.net.hub_client import HubClient
    from modelfetch.net.outgoing import Piece
    from modelfetch.net.registry_auth import RegistryAuth
    from modelfetch.net.registry_urls import RegistryRepository
    from modelfetch.store import Store

State = Literal["present", "pushed", "missing"]
"""What became of a blob: ``present`` if the registry had it, ``missing`` in a dry run if it has not."""


@dataclass(frozen=True, slots=True)
class PushedModel:
    """What is pushed of one model."""

    manifest: Manifest
    document: bytes
    """Manifest of the artifact."""
    blobs: tuple[Blob, ...]
    """Each digest once."""

    @property
    def sha256(self) -> str:
        """Digest of the artifact."""
        return digest(self.document)


@dataclass(frozen=True, slots=True)
class PushedBlob:
    """What became of a blob."""

    blob: Blob
    state: State
    sent: int = 0
    """Bytes that were sent."""
    continued_at: int = 0
    """Bytes that the registry had from a push that was interrupted."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of a model."""

    blobs: tuple[PushedBlob, ...]
    is_tagged: bool
    """Whether the tag led to the model already."""


def model_of(store: Store, manifest: Manifest) -> PushedModel:
    """Return what is pushed of a model of the cache.

    Raises:
        OfflineError: The model is not present.
        UsageError: A file of it has the name of its manifest.
    """
    check_name(manifest)
    artifact, toml = artifact_of(manifest)
    blobs: dict[str, Blob] = {}
    for path, file in files_of(store, manifest):
        damaged = partial(_damaged, str(path), "`modelfetch verify --repair` repairs it.")
        blobs[file.sha256] = Blob(file.sha256, file.size, file.path, partial(store.read, path), damaged)
    for name, data in ((f"{manifest.name}.toml", toml), ("config", artifact.config)):
        blobs.setdefault(digest(data), _small(name, data))
    return PushedModel(manifest, artifact.manifest, tuple(blobs.values()))


def bundled_model(path: Path, bundle: Bundle, model: BundledModel) -> PushedModel:
    """Return what is pushed of a model of a bundle: its documents as they are.

    Args:
        path: The bundle, for messages.
        bundle: The bundle, which stays open until the push has ended.
        model: A model of it, whose documents were verified.

    Raises:
        IntegrityError: The bundle lacks files of the model, or changed since it was opened.
        StoreError: It cannot be read.
    """
    if model.missing:
        raise refused(path, f"it is cut off: it lacks {model.missing[0]}")

    def read(sha256: str) -> Iterator[Piece]:
        pieces = bundle.pieces(BLOBS + sha256)
        while (piece := guarded(path, lambda: next(pieces, None))) is not None:
            yield piece

    document = b"".join(read(model.sha256))
    if digest(document) != model.sha256:
        raise refused(path, "it changed while it was read")
    artifact = Document(model.sha256, OCI_MANIFEST, json.loads(document))
    blobs: dict[str, Blob] = {}
    for layer in (*artifact.descriptors("layers"), *filter(None, [artifact.config()])):
        name = layer.annotations.get(FILEPATH, "config")
        damaged = partial(_damaged, f"{name} in {path}", "Copy the bundle again.")
        blob = Blob(layer.sha256, layer.size, name, partial(read, layer.sha256), damaged)
        blobs.setdefault(layer.sha256, blob)
    return PushedModel(model.manifest, document, tuple(blobs.values()))


class Pusher:
    """Pushes models, for one run.

    Args:
        hub: Sends the requests.
        auth: Credentials of the run, with which repositories may be written to.
        notes: What earlier pushes noted about their uploads.
        watch: Is shown how it goes.
        done: Called with each blob when its state is known.
    """

    def __init__(
        self,
        hub: HubClient,
        auth: RegistryAuth,
        notes: UploadNotes,
        watch: Watch,
        done: Callable[[PushedBlob], None] = lambda _: None,
    ) -> None:
        self._hub = hub
        self._auth = auth
        self._notes = notes
        self._watch = watch
        self._done = done

    def push(
        self, model: PushedModel, repository: RegistryRepository, tag: str, *, dry_run: bool = False
    ) -> Pushed:
        """Push a model.

        Args:
            model: The model.
            repository: Its repository.
            tag: The tag that its artifact gets.
            dry_run: Whether the registry is only asked what it has.

        Raises:
            AuthorizationError: The registry requires a login, or refused it.
            IntegrityError: A blob is damaged, or the registry stored something else.
            StoreError: The disk cannot read a blob.
            UnavailableError: The registry cannot be reached, or cannot take the model.
            Cancelled: The run was cancelled.
        """
        uploads = RegistryUploads(self._hub, self._auth, repository)
        try:
            blobs = tuple(self._blob(uploads, blob, dry_run=dry_run) for blob in model.blobs)
            # Asked first: some registries refuse to write a tag again, even with the same content.
            is_tagged = uploads.manifest_digest(tag) == f"sha256:{model.sha256}"
            if not (is_tagged or dry_run):
                uploads.put_manifest(tag, model.document, model.sha256)
        except SourceError as error:
            raise _translated(error, model.manifest.name, repository) from error
        return Pushed(blobs, is_tagged)

    def _blob(self, uploads: RegistryUploads, blob: Blob, *, dry_run: bool) -> PushedBlob:
        if uploads.has_blob(blob.sha256, blob.size):
            done = PushedBlob(blob, "present")
        elif dry_run:
            done = PushedBlob(blob, "missing")
        else:
            sent: Sent = BlobUpload(uploads, self._hub, self._notes, blob, self._watch).run()
            done = PushedBlob(blob, "pushed", sent.sent, sent.continued_at)
        self._done(done)
        return done


def total(blobs: Sequence[PushedBlob], *states: State) -> int:
    """Return the bytes of the blobs in these states."""
    return sum(each.blob.size for each in blobs if each.state in states)


def _translated(error: SourceError, name: str, repository: RegistryRepository) -> ModelfetchError:
    """The error for the user."""
    host = sanitize(repository.registry)
    where = f"{host} ({error.elsewhere})" if error.elsewhere else host
    message = f"{where}: cannot push {name} to {repository.name}: {error.message}"
    if error.fault is Fault.AUTHORIZATION:
        hint = error.hint or f"Check that your login may write there; `docker login {host}` stores one."
        return AuthorizationError(message, hint=hint)
    hint = "Run the command again: what was sent is skipped."
    if error.fault is Fault.NOT_FOUND:
        hint = "Check the address. Some registries require that a repository is created first."
    elif error.fault is Fault.TLS:
        hint = PLAIN_HINT
    elif error.fault is Fault.CONNECT:  # perhaps another registry was meant
        hint = f"Check that {host} is the registry, and the network. {hint}"
    return UnavailableError(message, hint=error.hint or hint)


def _small(name: str, data: bytes) -> Blob:
    return Blob(digest(data), len(data), name, lambda: iter([data]), partial(_damaged, name, ""))


def _damaged(where: str, hint: str) -> IntegrityError:
    return IntegrityError(f"{sanitize(where)} is damaged, so the model was not pushed", hint=hint)
