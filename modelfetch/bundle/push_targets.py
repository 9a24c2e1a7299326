"""Where a push goes: the repository and the tag of each model. Pure.

::

    tiny       oci:registry.example/lab/tiny        registry.example/lab/tiny, tag = version of the model
    tiny       oci:registry.example/lab/tiny:new    registry.example/lab/tiny:new
    tiny base  oci:registry.example/lab             registry.example/lab/tiny, registry.example/lab/base
    tiny base  s3://models/lab                      s3://models/lab/<sha256> for each file
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.parse_reference import parse_reference
from modelfetch.model.reference import ObjectReference, OciReference
from modelfetch.model.text import quote
from modelfetch.net.registry_urls import RegistryRepository

if TYPE_CHECKING:
    from modelfetch.model.object_address import ObjectAddress

_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
"""OCI distribution specification, "Pulling manifests"."""
_NAME: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
"""A part of the name of a repository, by the same section."""
_PULL: Final = "Write oci:REGISTRY/REPO or oci:REGISTRY/REPO:TAG."
_PUSH: Final = "Write oci:REGISTRY/REPO, oci:REGISTRY/REPO:TAG or s3://BUCKET/PREFIX."


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

    @property
    def place(self) -> str:
        """The registry, for display."""
        return self.repository.registry

    def by_digest(self, sha256: str) -> str:
        """The reference to a manifest in this repository."""
        return OciReference(self.repository.registry, self.repository.name, digest=f"sha256:{sha256}").text


def check_scheme(text: str, hint: str = _PULL) -> None:
    """Check that a text is meant as the address of an artifact.

    Args:
        text: What the user gave.
        hint: What to write instead.

    Raises:
        UsageError: It is not.
    """
    if not text.strip().lower().startswith("oci:"):
        raise UsageError(f"{quote(text)} is not the address of a repository", hint=hint)


def target_of(text: str) -> Target:
    """Parse where a push goes.

    Raises:
        UsageError: It is not the address of a repository.
    """
    check_scheme(text, _PUSH)
    found = parse_reference(text)
    if not isinstance(found, OciReference) or found.digest:
        raise UsageError(f"{quote(text)} has a digest, which a push cannot choose", hint=_PUSH)
    repository = RegistryRepository(found.registry, found.repository)
    try:
        repository.check()
    except ValueError as error:
        raise UsageError(f"{quote(text)} cannot be pushed to: {error}", hint=_PUSH) from None
    # The parser fills in the default of a pull, which is not that of a push.
    has_tag = ":" in text.strip().rpartition("/")[2]
    return Target(repository, (found.tag or "") if has_tag else "")


def bucket_of(text: str) -> ObjectAddress | None:
    """Parse where a push to a bucket goes; None if the text is not the address of an object store.

    Raises:
        UsageError: The address is wrong.
    """
    text = text.strip()
    if not text.lower().startswith(("s3:", "gs:", "az:")):
        return None
    found = parse_reference(text)
    assert isinstance(found, ObjectReference), "by its scheme"
    return found.address


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
