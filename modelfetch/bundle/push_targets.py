"""Where a push goes: the repository and the tag of each model. Pure.

::

    tiny       oci:registry.example/lab/tiny        registry.example/lab/tiny, tag = version of the model
    tiny       oci:registry.example/lab/tiny:new    registry.example/lab/tiny:new
    tiny base  oci:registry.example/lab             registry.example/lab/tiny, registry.example/lab/base
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.parse_reference import parse_reference
from modelfetch.model.reference import OciReference
from modelfetch.model.text import quote
from modelfetch.net.registry_urls import RegistryRepository

_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
"""OCI distribution specification, "Pulling manifests"."""
_NAME: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
"""A part of the name of a repository, by the same section."""
_HINT: Final = "Write oci:REGISTRY/REPO or oci:REGISTRY/REPO:TAG."


@dataclass(frozen=True, slots=True)
class Target:
    """Where one model goes."""

    repository: RegistryRepository
    tag: str
    """Empty in what the user gave, if there was none."""

    @property
    def text(self) -> str:
        """``REGISTRY/REPO:TAG``."""
        return f"{self.repository.text}:{self.tag}"

    def by_digest(self, sha256: str) -> str:
        """The reference to a manifest in this repository."""
        return OciReference(self.repository.registry, self.repository.name, digest=f"sha256:{sha256}").text


def check_scheme(text: str) -> None:
    """Check that a text is meant as the address of an artifact.

    Raises:
        UsageError: It is not.
    """
    if not text.strip().lower().startswith("oci:"):
        raise UsageError(f"{quote(text)} is not the address of a repository", hint=_HINT)


def target_of(text: str) -> Target:
    """Parse where a push goes.

    Raises:
        UsageError: It is not the address of a repository.
    """
    check_scheme(text)
    found = parse_reference(text)
    if not isinstance(found, OciReference) or found.digest:
        raise UsageError(f"{quote(text)} has a digest, which a push cannot choose", hint=_HINT)
    repository = RegistryRepository(found.registry, found.repository)
    try:
        repository.check()
    except ValueError as error:
        raise UsageError(f"{quote(text)} cannot be pushed to: {error}", hint=_HINT) from None
    # The parser fills in the default of a pull, which is not that of a push.
    has_tag = ":" in text.strip().rpartition("/")[2]
    return Target(repository, (found.tag or "") if has_tag else "")


def targets(target: Target, models: Sequence[tuple[str, str]]) -> list[Target]:
    """Return where each model goes.

    Args:
        target: What the user gave.
        models: Name and version of each model.

    Raises:
        UsageError: Several models were to get one tag, or a name or version cannot be used.
    """
    if len(models) == 1:
        [(_, version)] = models
        return [Target(target.repository, target.tag or _tag(version))]
    if target.tag:
        raise UsageError(
            f"{len(models)} models cannot get one tag",
            hint=f"Leave :{target.tag} out: each goes to REPO/NAME, with its version as the tag.",
        )
    found = []
    for name, version in models:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{quote(name)} cannot be part of the name of a repository",
                hint="Push this model alone, to a repository of a name in lower case.",
            )
        path = f"{target.repository.name}/{name}"
        found.append(Target(RegistryRepository(target.repository.registry, path), _tag(version)))
    return found


def _tag(version: str) -> str:
    if not _TAG.fullmatch(version):
        raise UsageError(
            f"the version {quote(version)} cannot be a tag", hint="Give one: oci:REGISTRY/REPO:TAG."
        )
    return version
