"""Addresses as pasted from a browser: a hub's page stands for that hub's reference, anything else is a file.

====================================================  ================================================
``huggingface.co/ORG/REPO[/tree|blob|resolve/REV]``   ``hf:ORG/REPO[@REV]``
``modelscope.cn/models/ORG/REPO[/...]``               ``ms:ORG/REPO[@REV]``
``github.com/ORG/REPO/releases/tag/TAG``              ``gh:ORG/REPO@TAG``
``github.com/ORG/REPO/releases/download/TAG/NAME``    ``gh:ORG/REPO@TAG:NAME``
``ollama.com/library/NAME[:TAG]``                     ``ollama:NAME:TAG``
====================================================  ================================================

With or without a scheme. Query and fragment of a page are dropped, ``%2F`` in a revision belongs to it. A
route that does not name a repository, such as ``/discussions/``, is refused rather than guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.addresses import why_bad_url
from modelfetch.model.reference import GithubReference, RepoReference, UrlReference
from modelfetch.model.reference_parts import (
    HUBS,
    github_reference,
    refuse,
    repo_reference,
    repository,
    split_revision,
)
from modelfetch.model.registry_names import OLLAMA_HOSTS, parse_ollama
from modelfetch.model.text import quote

if TYPE_CHECKING:
    from modelfetch.model.manifest import RepoType
    from modelfetch.model.reference import Hub, Reference

_HF_HOSTS: Final = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_MS_HOSTS: Final = frozenset({"modelscope.cn", "www.modelscope.cn", "modelscope.ai", "www.modelscope.ai"})
_GITHUB_HOSTS: Final = frozenset({"github.com", "www.github.com"})
_GITHUB_FILE: Final = "/[^/]+/[^/]+/(?:raw|archive)/."
"""Addresses of GitHub that are files of a repository, not pages."""
_HF_MIRRORS: Final = frozenset({"hf-mirror.com", "www.hf-mirror.com"})
"""Public copies of Hugging Face: they are used as ``HF_ENDPOINT``, not as sources of their own."""

_ROUTES: Final = frozenset({"tree", "blob", "resolve", "raw", "blame"})
"""Routes of Hugging Face that are followed by a revision and perhaps a path (``huggingface_hub``)."""
_NO_REPOS: Final = frozenset(
    {"api", "blog", "chat", "collections", "docs", "join", "learn", "login", "new", "organizations"}
    | {"papers", "posts", "pricing", "search", "settings", "tasks"}
)
"""First parts of pages of Hugging Face that cannot be the name of an account."""
_NO_OLLAMA_MODELS: Final = frozenset({"blog", "docs", "download", "models", "search", "settings", "signin"})

_SECRETS: Final = r"(?i)[?&](?:x-amz-signature|x-goog-signature|signature|sig|hdnea|policy)="
"""Keys in the query of signed addresses: Amazon S3 and CloudFront, Google Cloud Storage, Azure, Akamai."""
_TOKENS: Final = r"(?i)[?&](?:(?:\w+[_-])?(?:access_?)?token|(?:\w+[_-])?api[_-]?key|password|\w*secret)="
"""Keys in the query of addresses that contain credentials."""
_LOOPBACK: Final = r"localhost|127(?:\.[0-9]{1,3}){3}|::1"


@dataclass(frozen=True, slots=True)
class Page:
    """An address, taken apart."""

    text: str
    """As given, for messages."""
    parts: SplitResult
    path: str
    """Its path, without the prefix of a configured endpoint."""

    @property
    def segments(self) -> list[str]:
        """The parts of the path, percent-decoded; empty ones are left out.

        Raises:
            UsageError: A part is not UTF-8 when decoded, or contains a control character.
        """
        try:
            decoded = [unquote(part, errors="strict") for part in self.path.split("/") if part]
        except UnicodeDecodeError:
            decoded = ["\0"]
        if not all(map(str.isprintable, decoded)):
            raise refuse(self.text, "has a percent-encoded character that no page has")
        return decoded


_Reader = Callable[[Page], "Reference"]


def parse_address(text: str, *, hf_endpoint: str, ms_endpoint: str) -> Reference | None:
    """Parse a URL, or the address of a hub's page without a scheme.

    Args:
        text: The address.
        hf_endpoint: Base address of the Hugging Face Hub in use; its pages are recognized too.
        ms_endpoint: The same for ModelScope.

    Returns:
        The reference; None if the text has no scheme and is not an address of a known hub.

    Raises:
        UsageError: It is the address of a page that names nothing to pin, or not of a file.
    """
    has_scheme = text[:8].lower().startswith(("http://", "https://"))
    try:
        parts = urlsplit(text if has_scheme else f"//{text}")
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        if has_scheme:
            raise refuse(text, "is not a URL") from None
        return None
    page = Page(text, parts, parts.path)
    found = _at_endpoint(page, host, port, (("hf", hf_endpoint), ("ms", ms_endpoint))) or _at_hub(
        page, host, port
    )
    if found is None and not has_scheme:
        return None
    if "@" in parts.netloc:
        raise refuse(text, "contains a user name or password", hint="Leave it out; tokens are settings.")
    if found is None:
        return _file(page, host)
    read, page = found
    return read(page)


_PORTS: Final = {"http": 80, "https": 443, "": 443}
"""The port of an address that names none, by its scheme."""


def _at_endpoint(
    page: Page, host: str, port: int | None, endpoints: Sequence[tuple[Hub, str]]
) -> tuple[_Reader, Page] | None:
    """Return the reader of the configured hub on the same host, port and path prefix, with the page in it."""
    origin = host, port or _PORTS.get(page.parts.scheme)
    for hub, endpoint in endpoints:
        base = urlsplit(endpoint)
        prefix = base.path.rstrip("/")
        is_same = (base.hostname, base.port or _PORTS.get(base.scheme)) == origin
        if is_same and f"{page.path}/".startswith(f"{prefix}/"):
            inside = Page(page.text, page.parts, page.path[len(prefix) :])
            return (_hugging_face if hub == "hf" else _modelscope), inside
    return None


def _at_hub(page: Page, host: str, port: int | None) -> tuple[_Reader, Page] | None:
    """Return the reader of a public hub."""
    is_file = page.parts.scheme and host in _GITHUB_HOSTS and re.match(_GITHUB_FILE, page.path)
    if is_file or port not in (None, 80, 443):
        return None
    return next(((read, page) for hosts, read in _READERS if host in hosts), None)


# Hugging Face


def _hugging_face(page: Page) -> RepoReference:
    segments = page.segments
    if not segments or segments[0] in _NO_REPOS or segments in (["models"], ["datasets"], ["spaces"]):
        raise refuse(page.text, "is a page of Hugging Face, but not of a repository", hint=_PASTE)
    if len(segments) == 1:
        raise refuse(page.text, "is the page of an account, not of a repository", hint=_PASTE)
    if len(segments) > 2 and segments[1] in _ROUTES:
        # A name without an owner, such as gpt2/resolve/main/config.json; no repository is called "resolve".
        kind, repo, _ = repository(page.text, "hf", segments[:1])
        return _location(page, "hf", kind, repo, segments[1:])
    return _location(page, "hf", *repository(page.text, "hf", segments))


_PASTE: Final = "Open the page of a model, and paste its address; or write hf:OWNER/NAME."


def _location(page: Page, hub: Hub, kind: RepoType, repo: str, rest: Sequence[str]) -> RepoReference:
    """Read what follows the repository in an address: a route, a revision, a path."""
    whole = RepoReference(hub, repo, type=kind)
    if not rest:
        return whole
    route, *after = rest
    if route in _ROUTES and after:
        return repo_reference(page.text, hub, kind, repo, *split_revision(after))
    instead = whole.text
    if route in ("commit", "commits") and after:
        instead = f"{whole.text}@{after[0]}"
    elif route == "discussions" and after and after[0].isdecimal() and after[0].isascii():
        instead = f"{whole.text}@refs/pr/{after[0]}"
    clause = f"is a page of {HUBS[hub]} ({quote(route)}), but not of files"
    raise refuse(page.text, clause, instead=instead)


# ModelScope


def _modelscope(page: Page) -> RepoReference:
    segments = page.segments
    if len(segments) < 3 or segments[0] not in ("models", "datasets"):
        if len(segments) > 2 and segments[0] == "studios":
            repository(page.text, "ms", segments)  # raises: studios cannot be pinned
        hint = "Open the page of a model, and paste its address; or write ms:OWNER/NAME."
        raise refuse(page.text, "is a page of ModelScope, but not of a repository", hint=hint)
    kind, repo, rest = repository(page.text, "ms", segments)
    if list(rest[:2]) == ["file", "view"]:
        rest = ["blob", *rest[2:]]
    if list(rest) in (["files"], ["summary"]):
        rest = []
    return _location(page, "ms", kind, repo, rest)


# GitHub


def _github(page: Page) -> GithubReference:
    """Read a page of a release. Names of assets have no slash, so in ``download/`` a tag may have some."""
    segments = page.segments
    if len(segments) < 2:
        raise refuse(page.text, "names no repository of GitHub", hint="Write gh:OWNER/REPO@TAG.")
    repo, rest = "/".join(segments[:2]), segments[2:]
    match rest:
        case ["releases", "latest"]:
            return github_reference(page.text, repo, None)
        case ["releases", "tag", _, *_]:
            return github_reference(page.text, repo, "/".join(rest[2:]))
        case ["releases", "latest", "download", name]:
            return github_reference(page.text, repo, None, _literal(name))
        case ["releases", "download", _, *_, name] if len(rest) > 3:
            return github_reference(page.text, repo, "/".join(rest[2:-1]), _literal(name))
    if rest[:1] == ["blob"]:
        raw = f"https://github.com{page.path.replace('/blob/', '/raw/', 1)}"
        raise refuse(page.text, "is a page that shows a file, not the file", instead=raw)
    latest = github_reference(page.text, repo.removesuffix(".git"), None).text
    raise refuse(page.text, "is a page of GitHub, but not of a release", instead=latest, hint="Or add @TAG.")


def _literal(name: str) -> str:
    """Return the pattern that matches one name only: ``*``, ``?`` and ``[`` stand for themselves."""
    return re.sub(r"([*?\[])", r"[\1]", name)


# Ollama


def _ollama(page: Page) -> Reference:
    segments = page.segments
    if len(segments) == 3 and segments[2] == "tags":
        name = _ollama_name(segments)
        raise refuse(
            page.text, "lists several tags", instead=f"ollama:{name}:latest", hint="Or name another tag."
        )
    if len(segments) != 2 or segments[0] in _NO_OLLAMA_MODELS:
        hint = "Open the page of a model, and paste its address; or write ollama:NAME:TAG."
        raise refuse(page.text, "is a page of ollama, but not of a model", hint=hint)
    return parse_ollama(page.text, _ollama_name(segments))


def _ollama_name(segments: Sequence[str]) -> str:
    return segments[1] if segments[0] == "library" else f"{segments[0]}/{segments[1]}"


# What is no hub


def _mirror(page: Page) -> Reference:
    """Refuse a copy of Hugging Face, whose pages look like those of the Hub."""
    try:
        instead = _hugging_face(page).text
    except UsageError:
        instead = ""
    hint = "To use the copy, set HF_ENDPOINT=https://hf-mirror.com."
    raise refuse(page.text, "is a copy of Hugging Face", instead=instead, hint=hint)


def _docker_hub(page: Page) -> Reference:
    segments = [part for part in page.segments if part not in ("r", "_", "tags")]
    instead = f"oci:docker.io/{'/'.join(segments[:2])}" if segments else ""
    raise refuse(page.text, "is a page of Docker Hub, not a file", instead=instead)


_READERS: Final[tuple[tuple[frozenset[str], _Reader], ...]] = (
    (_HF_HOSTS, _hugging_face),
    (_MS_HOSTS, _modelscope),
    (_GITHUB_HOSTS, _github),
    (OLLAMA_HOSTS, _ollama),
    (_HF_MIRRORS, _mirror),
    (frozenset({"hub.docker.com"}), _docker_hub),
)


def _file(page: Page, host: str) -> UrlReference:
    """Read the address of a file.

    Its digest is computed from what arrives, and pinned. So plain http is accepted from this machine only.
    """
    url = page.text.partition("#")[0]
    url = page.parts.scheme + url[len(page.parts.scheme) :]
    if clause := why_bad_url(url):
        raise refuse(page.text, clause, hint="Give the address of a file, as a browser copies it.")
    if re.search(_SECRETS, url):
        hint = "Give the lasting address of the file, or fetch it and give its path."
        raise refuse(page.text, "is a signed address, which expires", hint=hint)
    if re.search(_TOKENS, url):
        hint = "Give an address that needs none, or fetch the file and give its path."
        raise refuse(page.text, "has credentials in its query, which a pin would publish", hint=hint)
    if page.parts.scheme == "http" and not re.fullmatch(_LOOPBACK, host):
        secure = f"https{url[4:].partition('?')[0]}"
        raise refuse(page.text, "is not encrypted: the file could be changed on its way", instead=secure)
    if page.path.endswith("/") or not page.path:
        raise refuse(page.text, "names a directory or a page, not a file", hint="Give the address of a file.")
    return UrlReference(url)
