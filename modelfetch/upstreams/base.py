"""The interface of upstreams, and the listing that each of them returns.

An :class:`Upstream` resolves a reference to an immutable revision and lists the files of that revision, with
the digests that the hub states. Bytes are read only for files whose SHA-256 no one states::

    listing = upstream.resolve(reference)
    for file in listing.files:
        if file.sha256 is None:
            with upstream.open(file) as pieces: ...
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.model.manifest import HuggingFaceRepo, Kind, ModelScopeRepo
    from modelfetch.model.reference import Reference


@dataclass(frozen=True, slots=True)
class UpstreamFile:
    """One file of a listing."""

    path: str
    """Path in the model, as the hub names it; not checked yet for what file systems allow."""
    size: int | None
    """Size in bytes; None if the upstream does not state it."""
    sha256: str | None
    """The stated SHA-256, 64 lowercase hexadecimal digits; None if the upstream does not state it."""
    git_blob: str | None = None
    """The stated git blob id (SHA-1), which bytes are compared with before they are hashed for the pin."""
    fetch_url: str = ""
    """Where the bytes are read for hashing. It may be short-lived or secret: never pinned, never shown."""
    urls: tuple[str, ...] = ()
    """Lasting addresses of this file, written into the manifest as ``urls``."""
    disk: Path | None = None
    """The file itself, if it is on this disk."""
    cid: str | None = None
    """The file's own IPFS CID, if that is known."""
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """What a reference stands for at this moment."""

    reference: Reference
    """The reference, with the names as the hub spells them: a renamed repository has its new name here."""
    revision: str
    """The immutable revision (commit, manifest digest); empty if the upstream has none."""
    files: tuple[UpstreamFile, ...]
    stated_by: str
    """Who states the digests, as in ``upstream.stated``: ``huggingface``, ``modelscope``, ``oci``,
    ``ollama``, ``github``, ``ipfs``; ``computed`` where nobody does."""
    name: str
    """What the model may be called: the last part of the repository, unchecked."""
    kind: Kind = "model"
    license: str = ""
    """SPDX identifier where the hub's identifier maps to one exactly, else as the hub states it."""
    title: str = ""
    homepage: str = ""
    huggingface: HuggingFaceRepo | None = None
    """The tables of the manifest's sources that this upstream fills in."""
    modelscope: ModelScopeRepo | None = None
    oci: str | None = None
    include: tuple[str, ...] = ()
    """Patterns that the reference itself implies, such as the folder of a pasted page address."""
    notices: tuple[str, ...] = ()
    """Lines for the user, such as "org/old was renamed to org/new"."""
    is_gated: bool = False
    """Whether its files are only for users who accepted its terms."""


class Upstream(Protocol):
    """One hub, registry, server or disk."""

    def resolve(self, reference: Reference) -> Listing:
        """Resolve a reference to an immutable revision, and list its files.

        Raises:
            UnknownModelError: There is no such repository, revision, tag or file; or it is private.
            AuthorisationError: Credentials are missing, wrong or insufficient.
            UnavailableError: The hub cannot be reached, keeps failing, or answers nonsense.
            UsageError: The reference cannot be pinned, for a reason that the message gives.
            Cancelled: The run was cancelled.
        """

    def open(self, file: UpstreamFile) -> AbstractContextManager[Iterator[bytes]]:
        """Open a file of a listing, for hashing; the pieces end with the file.

        Raises:
            UnavailableError: The bytes cannot be read.
            AuthorisationError: Credentials are missing, wrong or insufficient.
            Cancelled: The run was cancelled.
        """
