"""Names in registries: OCI artifacts (``oci:``) and models of ollama (``ollama:``).

The grammars are those of the programs that the names come from: ``distribution/reference`` (normalize.go) and
ollama (``types/model/name.go``)::

    [DOMAIN[:PORT]/]PATH[:TAG][@sha256:DIGEST]      OCI; docker.io where no domain is named
    [HOST/][NAMESPACE/]MODEL[:TAG]                  ollama; registry.ollama.ai, library, latest
"""

from __future__ import annotations

import re
from typing import Final

from modelfetch.model.reference import OciReference, OllamaReference
from modelfetch.model.reference_parts import refuse

# Patterns are text, compiled by `re` at their first use: a command that parses no reference does not pay.
_DOMAIN: Final = (
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])"
    r"(?::[0-9]{1,5})?"
)
_PATH: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
_TAG: Final = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_DIGEST: Final = r"sha256:[0-9a-f]{64}"
_NAME_CHARACTERS: Final = 255
"""Longest domain and path together (OCI distribution-spec 1.1: many clients limit them to 255)."""
_DOCKER_HOSTS: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
"""All names of Docker Hub; ``docker.io`` is the canonical one."""

_OLLAMA_HOST: Final = r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,343}|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_OLLAMA_NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_OLLAMA_NAMESPACE: Final = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"
OLLAMA_HOST: Final = "registry.ollama.ai"
OLLAMA_HOSTS: Final = frozenset({OLLAMA_HOST, "ollama.com", "www.ollama.com"})
"""Names of ollama's registry and of its pages."""


def parse_oci(text: str, name: str) -> OciReference:
    """Parse the name of an OCI artifact.

    Args:
        text: The reference, for messages.
        name: What follows ``oci:``. With ``//`` in front, the host must be named.

    Raises:
        UsageError: It is not a name of an artifact.
    """
    if found := re.match(r"https?://", name):
        raise refuse(text, f"has '{found[0]}' in it", instead=f"oci:{name[found.end() :]}")
    is_address = name.startswith("//")
    name, at, digest = name.removeprefix("//").partition("@")
    if at:
        _check_digest(text, name, digest)
    place, tag = _split_tag(name)
    domain, path = _split_domain(place)
    if is_address and not domain:
        raise refuse(text, "names no host after '//'", instead=f"oci:{name}")
    domain = canonical_domain(domain)
    if domain == "docker.io" and "/" not in path:
        path = f"library/{path}"
    _check_oci(text, domain, path, tag)
    if at:
        return OciReference(domain, path, digest=digest)
    return OciReference(domain, path, tag="latest" if tag is None else tag)


def _check_digest(text: str, name: str, digest: str) -> None:
    if re.fullmatch(_DIGEST, digest):
        return
    if re.fullmatch(_DIGEST, digest.lower()):
        raise refuse(text, "has a digest in upper case", instead=f"oci:{name}@{digest.lower()}")
    if re.fullmatch("[0-9a-f]{64}", digest):
        raise refuse(text, "has a digest without 'sha256:'", instead=f"oci:{name}@sha256:{digest}")
    if re.fullmatch(_TAG, digest) and ":" not in name.rpartition("/")[2]:
        raise refuse(text, "has '@' where a tag starts with ':'", instead=f"oci:{name}:{digest}")
    raise refuse(text, "has no valid digest after '@'", hint="Write @sha256: and 64 of 0-9 a-f.")


def _split_tag(name: str) -> tuple[str, str | None]:
    """Split off a tag: what follows a colon in the last part. A colon before it belongs to a port."""
    head, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    return f"{head}{slash}{last}", tag if colon else None


def _split_domain(place: str) -> tuple[str, str]:
    """Split off the domain by the rule of Docker: it contains a dot, colon or capital, or is localhost."""
    first, slash, path = place.partition("/")
    is_domain = is_host(first) or first != first.lower()
    return (first, path) if slash and is_domain else ("", place)


def is_host(first: str) -> bool:
    """Whether the first part of a name is a host, and not a part of the path."""
    return "." in first or ":" in first or first.lower() == "localhost"


def canonical_domain(domain: str) -> str:
    """Return a domain in lower case if it is still taken for a domain then; host names have no case."""
    lower = domain.lower()
    if not domain or lower in _DOCKER_HOSTS:
        return "docker.io"
    return lower if is_host(lower) else domain


def _check_oci(text: str, domain: str, path: str, tag: str | None) -> None:
    if re.fullmatch("(?:library/)?[0-9a-f]{64}", path):
        raise refuse(
            text, "is a digest, not the name of an artifact", hint="Write oci:REGISTRY/NAME@sha256:DIGEST."
        )
    if len(domain) + len(path) + 1 > _NAME_CHARACTERS:
        raise refuse(text, f"has a name of more than {_NAME_CHARACTERS} characters")
    if not re.fullmatch(_DOMAIN, domain):
        raise refuse(text, "has no valid host", hint="Write oci:REGISTRY/NAME:TAG.")
    if not re.fullmatch(_PATH, path):
        lower = OciReference(domain, path.lower(), tag or "latest").text
        is_case = path != path.lower() and re.fullmatch(_PATH, path.lower())
        clause = "has a capital in its name" if is_case else "has no valid name of an artifact"
        raise refuse(text, clause, instead=lower if is_case else "", hint="" if is_case else _OCI_HINT)
    if tag is not None and not re.fullmatch(_TAG, tag):
        raise refuse(text, "has no valid tag after ':'", hint=_OCI_HINT)


_OCI_HINT: Final = (
    "Write oci:REGISTRY/NAME:TAG; a name is in lower case, a tag has letters, digits and . _ - in it."
)


def parse_ollama(text: str, name: str) -> OllamaReference:
    """Parse the name of a model of ollama.

    Args:
        text: The reference, for messages.
        name: What follows ``ollama:``, with or without ``//``.

    Raises:
        UsageError: It is not a name of a model.
    """
    if found := re.match(r"https?://", name):
        raise refuse(text, f"has '{found[0]}' in it", instead=f"ollama:{name[found.end() :]}")
    name = name.removeprefix("//")
    if "@" in name:
        raise refuse(text, "has '@' in it; a model of ollama has a tag after ':'", hint=_OLLAMA_HINT)
    place, tag = _split_tag(name)
    parts = place.split("/")
    if len(parts) > 3:
        raise refuse(text, "has more parts than HOST/NAMESPACE/MODEL", hint=_OLLAMA_HINT)
    if len(parts) == 2 and "." in parts[0]:
        guess = f"ollama:{parts[0]}/library/{parts[1]}:{tag or 'latest'}"
        raise refuse(text, "names a host, but no namespace", instead=guess)
    host = parts[0].lower() if len(parts) == 3 else OLLAMA_HOST
    reference = OllamaReference(
        host=OLLAMA_HOST if host in OLLAMA_HOSTS else host,
        namespace=parts[-2] if len(parts) > 1 else "library",
        model=parts[-1],
        tag="latest" if tag is None else tag,
    )
    _check_ollama(text, reference)
    return reference


def _check_ollama(text: str, reference: OllamaReference) -> None:
    for pattern, part, word in (
        (_OLLAMA_HOST, reference.host, "host"),
        (_OLLAMA_NAMESPACE, reference.namespace, "namespace"),
        (_OLLAMA_NAME, reference.model, "name of a model"),
        (_OLLAMA_NAME, reference.tag, "tag"),
    ):
        if not re.fullmatch(pattern, part):
            raise refuse(text, f"has no valid {word}", hint=_OLLAMA_HINT)


_OLLAMA_HINT: Final = "Write ollama:MODEL:TAG, ollama:NAMESPACE/MODEL:TAG or ollama:HOST/NAMESPACE/MODEL:TAG."
