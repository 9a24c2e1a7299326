"""What clients may have pinned: the patterns of ``serve --pin-only``. Pure.

::

    org/*  datasets/org/*      repositories of Hugging Face
    ghcr.io/org/*              artifacts of one registry: the part before the first slash is a host

A pattern is of one kind: somebody at Hugging Face may be called like a registry.
Without a pattern every repository of Hugging Face is allowed, but nothing of a registry: its host must be
named by a pattern, letter by letter. So a client never chooses which host this server talks to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from modelfetch.errors import UsageError
from modelfetch.model.reference import OciReference
from modelfetch.model.registry_names import canonical_domain, is_host
from modelfetch.model.text import quote
from modelfetch.share.on_demand import MAIN, Named

_REPO: Final = re.compile(r"(?!.*(?:--|\.\.))\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)
"""Names of repositories with an owner (huggingface_hub, ``validate_repo_id``)."""
_REVISION: Final = re.compile(r"(?!.*\.\.)[\w][\w./+-]{0,99}", re.ASCII)
"""Names of branches, tags and commits."""
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?")
"""Hosts that a pattern may name; an IPv6 address would have the brackets of a wildcard."""

_WILDCARDS: Final = frozenset("*?[")
"""Characters that make a pattern of what has no slash: they match a slash, too."""


class PinPatterns:
    """The patterns.

    Args:
        patterns: As the operator gave them; those that name a registry were checked.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._registries = _registries(patterns)
        self._hub = of_hub(patterns)

    def allow(self, reference: Named) -> bool:
        """Whether a client may have something pinned; not what is malformed."""
        if isinstance(reference, OciReference):
            return any(
                host == reference.registry and fnmatchcase(reference.repository, path)
                for host, path in self._registries
            )
        if not _REPO.fullmatch(reference.repo) or not _REVISION.fullmatch(reference.revision or MAIN):
            return False
        path = reference.repo if reference.type == "model" else f"{reference.type}s/{reference.repo}"
        return any(fnmatchcase(path.lower(), each) for each in self._hub)


def registries(patterns: Sequence[str]) -> list[str]:
    """Return the registries that patterns name.

    Raises:
        UsageError: The host in a pattern has a wildcard, or is none; or nothing can match a pattern.
    """
    for pattern in patterns:
        host, slash, path = pattern.lower().partition("/")
        if not (host and path if slash else _WILDCARDS & set(pattern)):
            raise UsageError(
                f"--pin-only: {quote(pattern)} is no repository",
                hint="Write ORG/* or ORG/NAME; of a registry ghcr.io/ORG/*.",
            )
        if slash and is_host(host) and not _HOST.fullmatch(host):
            raise UsageError(
                f"--pin-only: {quote(pattern)} does not name one registry",
                hint="Write ORG/* of Hugging Face, or the host of a registry in full, such as ghcr.io/ORG/*.",
            )
    return list(dict.fromkeys(host for host, _ in _registries(patterns)))


def of_hub(patterns: Sequence[str]) -> list[str]:
    """Return the patterns of repositories of Hugging Face; one for all of them if there are no patterns."""
    return [each.lower() for each in patterns if not _registries([each])] if patterns else ["*"]


def _registries(patterns: Iterable[str]) -> list[tuple[str, str]]:
    """Return the patterns that name a registry, as its host and the pattern of paths there."""
    found = (pattern.lower().partition("/") for pattern in patterns)
    return [
        (canonical_domain(host), path)
        for host, _, path in found
        if path and is_host(host) and _HOST.fullmatch(host)
    ]
