"""The table of upstreams: which class resolves which reference.

A row maps a class of reference to the function that makes its upstream. The functions import the module of
their hub when they are called, so that one hub does not load the others::

    upstream = open_upstream(RepoReference("hf", "org/repo"), access)
    listing = upstream.resolve(reference)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from modelfetch.errors import OfflineError, UsageError
from modelfetch.model.reference import (
    DiskReference,
    GithubReference,
    IpfsReference,
    ObjectReference,
    OciReference,
    OllamaReference,
    RepoReference,
    UrlReference,
)
from modelfetch.model.text import quote
from modelfetch.settings.redaction import redact

if TYPE_CHECKING:
    from modelfetch.model.reference import Reference
    from modelfetch.upstreams.access import Access
    from modelfetch.upstreams.base import Upstream

    Factory = Callable[[Reference, Access], Upstream]


def _repository(reference: Reference, access: Access) -> Upstream:
    if cast("RepoReference", reference).hub == "ms":
        from modelfetch.upstreams.modelscope import ModelScope

        return ModelScope.from_access(access)
    from modelfetch.upstreams.huggingface import HuggingFace

    return HuggingFace.from_access(access)


def _github(reference: Reference, access: Access) -> Upstream:  # noqa: ARG001 - every row takes both
    from modelfetch.upstreams.github import Github

    return Github.from_access(access)


def _ipfs(reference: Reference, access: Access) -> Upstream:  # noqa: ARG001
    from modelfetch.upstreams.ipfs import Ipfs

    return Ipfs.from_access(access)


def _url(reference: Reference, access: Access) -> Upstream:  # noqa: ARG001
    from modelfetch.upstreams.url import Url

    return Url.from_access(access)


def _bucket(reference: Reference, access: Access) -> Upstream:  # noqa: ARG001
    from modelfetch.upstreams.bucket import Bucket

    return Bucket.from_access(access)


def _disk(reference: Reference, access: Access) -> Upstream:  # noqa: ARG001
    from modelfetch.upstreams.disk import LocalDisk

    return LocalDisk.from_access(access)


def _oci(_: Reference, access: Access) -> Upstream:
    from modelfetch.upstreams.oci import Oci

    return Oci.from_access(access)


def _ollama(_: Reference, access: Access) -> Upstream:
    from modelfetch.upstreams.ollama import Ollama

    return Ollama.from_access(access)


UPSTREAMS: Final[dict[type[object], Factory]] = {
    RepoReference: _repository,
    GithubReference: _github,
    IpfsReference: _ipfs,
    UrlReference: _url,
    ObjectReference: _bucket,
    DiskReference: _disk,
    OciReference: _oci,
    OllamaReference: _ollama,
}
"""The function that makes the upstream, by class of reference."""

_WITHOUT_NETWORK: Final = (DiskReference,)
"""References that need no request, and so can be resolved offline."""


def open_upstream(reference: Reference, access: Access) -> Upstream:
    """Return the upstream that resolves a reference. No request is made yet.

    Raises:
        OfflineError: The upstream needs the network, which must not be used.
        UsageError: No upstream resolves such a reference.
    """
    if access.loaded.offline and not isinstance(reference, _WITHOUT_NETWORK):
        raise OfflineError(
            f"cannot resolve {quote(_shown(reference))}: the network must not be used",
            hint="Run again without --offline (MODELFETCH_OFFLINE, HF_HUB_OFFLINE).",
        )
    factory = UPSTREAMS.get(type(reference))
    if factory is None:
        raise UsageError(
            f"{quote(_shown(reference))} cannot be pinned: this kind of reference is not supported",
            hint="`modelfetch add --help` lists the kinds of references.",
        )
    return factory(reference, access)


def _shown(reference: Reference) -> str:
    """Return the text of a reference; of an address without what may be secret."""
    return redact(reference.text) if "://" in reference.text else reference.text
