"""Which models clients have had pinned (``serve --pin-on-demand``), and how those are named. Pure.

A client names a repository of Hugging Face, or an artifact of a registry with the registry in front::

    org/repo @ main             ->  org--repo                                       hf:org/repo
    org/repo @ v1               ->  org--repo--v1                                   hf:org/repo@v1
    ghcr.io/org/model : v1      ->  ghcr.io--org--model--v1--94a5677108e8           oci:ghcr.io/org/model:v1

The name tells such a model from those that the operator pinned, also when the server runs without that option
later. What a client chose decides nothing about these.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from modelfetch.errors import UsageError
from modelfetch.model.parse_reference import parse_reference
from modelfetch.model.reference import OciReference, RepoReference
from modelfetch.model.registry_names import canonical_domain, is_host, parse_oci

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest

Named: TypeAlias = RepoReference | OciReference
"""What a client can name: a repository of Hugging Face, or an artifact by its tag."""

MAIN: Final = "main"
"""The default branch of Hugging Face."""
LATEST: Final = "latest"
"""The default tag of a registry."""

_READABLE: Final = 100
"""Characters of a name that show what it stands for; with the digits it stays below the 128 of a name."""
_DIGITS: Final = 12
"""Hexadecimal digits that keep the names of artifacts apart: tags have capitals, paths may contain ``--``."""
_REMEMBERED: Final = 4096
"""References that are remembered: parsing one takes 40 us, and a request may look at all of a repository."""


def on_demand_name(reference: Named) -> str:
    """Return the name of the model that a client's request has pinned.

    ``--`` is in no name of a repository, and other pins are named without the owner.
    """
    if isinstance(reference, OciReference):
        text = f"{reference.registry}/{reference.repository}/{reference.tag}"
        digits = hashlib.sha256(reference.text.encode()).hexdigest()[:_DIGITS]
        return f"{text.replace('/', '--').replace(':', '-').lower()[:_READABLE]}--{digits}"
    name = reference.repo if reference.type == "model" else f"{reference.type}s/{reference.repo}"
    revision = f"/{reference.revision}" if reference.revision else ""
    return f"{name}{revision}".replace("/", "--").lower()


def is_pinned_on_demand(manifest: Manifest) -> bool:
    """Whether a client's request has pinned a model."""
    reference = _upstream(manifest)
    return reference is not None and manifest.name == on_demand_name(reference)


def is_clients_choice(manifest: Manifest) -> bool:
    """Whether a client chose the revision that a model is pinned at."""
    return is_pinned_on_demand(manifest) and upstream_revision(manifest) != MAIN


def upstream_revision(manifest: Manifest) -> str:
    """Return the branch or tag that a model was pinned from; empty if it is not known.

    A reference without a revision means the default branch, so a model that was pinned from it comes before
    one that was pinned at some commit, whichever was fetched last.
    """
    reference = _upstream(manifest)
    return reference.revision or MAIN if isinstance(reference, RepoReference) else ""


def upstream_tag(manifest: Manifest) -> str:
    """Return the tag of its repository that a model was pinned from; empty if there is none."""
    reference = _upstream(manifest)
    if not isinstance(reference, OciReference):
        return ""
    return reference.tag or "" if manifest.oci == f"{reference.registry}/{reference.repository}" else ""


def place_of(name: str) -> tuple[str, str] | None:
    """Split the name of a repository into its registry and path, if it begins with a registry.

    Args:
        name: As a client sent it: ``ghcr.io/org/model``, the way caches of several registries name them.
    """
    host, _, path = name.partition("/")
    if not path or not is_host(host):
        return None
    registry = canonical_domain(host)
    is_official = registry == "docker.io" and "/" not in path
    return registry, f"library/{path}" if is_official else path


def artifact(name: str, tag: str) -> OciReference | None:
    """Return the reference of an artifact that a client named; None if it names no registry, or is malformed.

    Args:
        name: Name of the repository, as a client sent it.
        tag: Tag, as a client sent it; a digest is none.
    """
    if place_of(name) is None:
        return None
    try:
        found = parse_oci("", f"{name}:{tag}")
    except UsageError:
        return None
    # Nothing of the one part may be read as the other, or as a digest.
    return found if place_of(name) == (found.registry, found.repository) and found.tag == tag else None


def _upstream(manifest: Manifest) -> Named | None:
    """Return the reference that a model was pinned from; None if it is none that a client can name."""
    return _parsed(manifest.upstream.ref) if manifest.upstream is not None else None


@lru_cache(_REMEMBERED)
def _parsed(text: str) -> Named | None:
    try:
        reference = parse_reference(text, exists=lambda _: False)
    except UsageError:
        return None
    if isinstance(reference, OciReference):
        return reference if reference.tag is not None else None
    return reference if isinstance(reference, RepoReference) and reference.hub == "hf" else None
