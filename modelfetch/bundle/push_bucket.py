"""Pushes models to a bucket as a mirror: each file under its SHA-256, and a manifest that names the mirror.

::

    s3://models/lab/<sha256>                     the files of all models, each once
    s3://models/lab/tiny/1/tiny.toml             the manifest of the model, with the mirror in it

    s3://models/lab/{sha256}                     the template of the mirror

An object that is there with the right size is skipped, so a push that was interrupted continues with the
first file that is missing. Bytes are hashed while they are sent, and an object whose bytes are not those of
its name is discarded at the store. The manifest is written last: what it lists is there by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from modelfetch.bundle.blob_upload import Blob, HashedBlob, Watch
from modelfetch.bundle.push import PushedBlob, State
from modelfetch.errors import AuthorizationError, Fault, SourceError, UnavailableError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.text import sanitize
from modelfetch.model.write import manifest_toml
from modelfetch.net.object_credentials import endpoint_variable

if TYPE_CHECKING:
    from modelfetch.bundle.push import PushedModel
    from modelfetch.errors import ModelfetchError
    from modelfetch.model.manifest import Manifest
    from modelfetch.model.object_address import ObjectAddress
    from modelfetch.net.hub_client import HubClient


@dataclass(frozen=True, slots=True)
class Bucketed:
    """What became of a model."""

    blobs: tuple[PushedBlob, ...]
    """Its files, each digest once."""
    manifest: ObjectAddress
    """Where its manifest is."""


class BucketPusher:
    """Pushes models below one prefix, for one run.

    Args:
        hub: Has the client of the run, and waits between attempts.
        prefix: Where the objects go.
        watch: Is shown how it goes.
        done: Called with each file when its state is known.
    """

    def __init__(
        self,
        hub: HubClient,
        prefix: ObjectAddress,
        watch: Watch,
        done: Callable[[PushedBlob], None] = lambda _: None,
    ) -> None:
        self._hub = hub
        self._prefix = prefix
        self._watch = watch
        self._done = done

    def push(self, model: PushedModel, *, dry_run: bool = False) -> Bucketed:
        """Push a model.

        Args:
            model: The model.
            dry_run: Whether the store is only asked what it has.

        Raises:
            AuthorizationError: The store refused access.
            IntegrityError: A file is damaged.
            StoreError: The disk cannot read it.
            UnavailableError: The store cannot be reached, or cannot take the model.
            Cancelled: The run was cancelled.
        """
        manifest = manifest_address(self._prefix, model.manifest)
        files = {file.sha256 for file in model.manifest.files}
        try:
            blobs = tuple(self._blob(blob, dry_run=dry_run) for blob in model.blobs if blob.sha256 in files)
            if not dry_run:
                self._write_manifest(model.manifest, manifest)
        except SourceError as error:
            raise _translated(error, model.manifest.name, self._prefix) from error
        return Bucketed(blobs, manifest)

    def _blob(self, blob: Blob, *, dry_run: bool) -> PushedBlob:
        address = below(self._prefix, blob.sha256)
        state: State = "present"
        if self._size(address, dry_run=dry_run) != blob.size:
            state = "missing" if dry_run else "pushed"
            if not dry_run:
                self._hub.retried(address.text, lambda: self._send(blob, address))
        done = PushedBlob(blob, state, blob.size if state == "pushed" else 0)
        self._done(done)
        return done

    def _size(self, address: ObjectAddress, *, dry_run: bool) -> int | None:
        """Size of an object; None if there is none. One of another size is replaced."""
        try:
            return self._hub.retried(address.text, lambda: self._hub.client.objects.head(address)).size
        except SourceError as error:
            if error.fault is Fault.NOT_FOUND and error.message != "no such bucket":
                return None
            # Amazon S3 answers 403 for an object that is not there if the bucket may not be listed. Whether
            # writing is allowed turns out later.
            if error.fault is Fault.AUTHORIZATION and not dry_run:
                return None
            raise

    def _send(self, blob: Blob, address: ObjectAddress) -> None:
        pieces = HashedBlob(blob).whole()
        self._hub.client.objects.put(
            address, blob.size, pieces, lambda sent: self._watch.progress(blob.path, sent, blob.size)
        )
        self._watch.progress(blob.path, blob.size, blob.size)

    def _write_manifest(self, manifest: Manifest, address: ObjectAddress) -> None:
        template = mirror_template(self._prefix)
        others = tuple(each for each in manifest.mirrors if each != template)
        text = manifest_toml(replace(manifest, mirrors=(template, *others))).encode()
        self._hub.retried(
            address.text, lambda: self._hub.client.objects.put(address, len(text), iter([text]))
        )


def mirror_template(prefix: ObjectAddress) -> str:
    """The mirror that the files below a prefix are: ``s3://models/lab/{sha256}``."""
    return f"{below(prefix, '').text}{{sha256}}"


def manifest_address(prefix: ObjectAddress, manifest: Manifest) -> ObjectAddress:
    """Where the manifest of a model goes. The file has the name that a catalog needs."""
    return below(prefix, f"{manifest.name}/{manifest.version}/{manifest.name}.toml")


def below(prefix: ObjectAddress, key: str) -> ObjectAddress:
    """The address of a key below a prefix."""
    start = f"{prefix.key.rstrip('/')}/" if prefix.key else ""
    return replace(prefix, key=f"{start}{key}")


def _translated(error: SourceError, name: str, prefix: ObjectAddress) -> ModelfetchError:
    """The error for the user."""
    message = f"{sanitize(prefix.place)}: cannot push {name}: {error.message}"
    if error.fault is Fault.AUTHORIZATION:
        return AuthorizationError(message, hint=error.hint)
    hint = "Run the command again: what was sent is skipped."
    endpoint = endpoint_variable(prefix.scheme)
    if error.fault is Fault.NOT_FOUND:
        hint = f"Create the bucket first, and check {endpoint}."
    elif error.fault in (Fault.CONNECT, Fault.TIMEOUT):
        # Without the variable it is the store of the cloud itself, which was perhaps not meant.
        hint = f"Check the network and {endpoint}, then run the command again: what was sent is skipped."
        return UnavailableError(message, hint=hint)
    return UnavailableError(message, hint=error.hint or hint)
