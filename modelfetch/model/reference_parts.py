"""Parts that several forms of references share: repositories, revisions, and the refusal of a wrong one.

Rules of Hugging Face (``huggingface_hub``: ``validate_repo_id``, ``parse_hf_uri``), of git
(``git-check-ref-format``) and of GitHub. Every function here is pure. A wrong part raises UsageError with one
line and, where the intent is clear, a suggestion that is a valid reference::

    hf:org/repo:main    'hf:org/repo:main' has ':' where a revision starts with '@'
                        Did you mean 'hf:org/repo@main'?
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from modelfetch.errors import UsageError
from modelfetch.model.paths import why_unsafe_remote
from modelfetch.model.reference import GithubReference, RepoReference
from modelfetch.model.text import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelfetch.model.manifest import RepoType
    from modelfetch.model.reference import Hub

# Patterns are text, compiled by `re` at their first use: a command that parses no reference does not pay.
_PART: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
"""Owner or name on Hugging Face: at most 96 characters, a word character at both ends."""
_LOOSE_PART: Final = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
"""Owner or name on ModelScope, which does not document the alphabet; as in a manifest."""
_GITHUB: Final = r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}"
"""GitHub: a login of at most 39 letters, digits and hyphens; a repository of at most 100 characters."""
_SPECIAL: Final = r"refs/(?:convert/[A-Za-z0-9_.-]+|pr/[0-9]+)(?=/|\Z)"
"""Revisions of the Hub that contain slashes and are taken whole (``huggingface_hub``: ``_hf_uris.py``)."""
_VARIANT: Final = r"(?i)(?:UD-)?(?:I?Q[1-8]|TQ[12]|MXFP4|BF16|F16|F32|FP16)(?:_\w+)?"
"""A quantization of a GGUF file, such as ``Q4_K_M``; other programs name one after a colon."""
_FILE: Final = r"(?::file=)?(?=.*\.(?:bin|gguf|json|onnx|pt|pth|safetensors)\Z)([^?#@]+)|:file=([^?#@]+)"
"""A file after the colon: by the suffixes of weights, or as ``::file=PATH``. Never a query."""
_USERINFO: Final = r"(?<=//)[^/?#]*@|(?<=[:/])[^/?#@:]+:[^/?#@]*@(?!sha256:)"
"""User name and password before a host, also without ``//``: ``oci:user:password@registry.example/x``. Not
the tag before a digest: ``oci:model:1@sha256:...``."""
_REVISION_CHARACTERS: Final = 255
"""Longest revision in characters: git stores a branch as a file, whose name has at most 255 bytes."""

CHARACTERS: Final = 8192
"""Longest reference; that of the longest address (:mod:`modelfetch.model.addresses`)."""

HUBS: Final[dict[Hub, str]] = {"hf": "Hugging Face", "ms": "ModelScope"}
TYPES: Final[dict[str, RepoType]] = {"models": "model", "datasets": "dataset", "spaces": "space"}
"""Prefixes of repositories, in addresses and references."""
UNPINNABLE: Final = frozenset({"kernels", "buckets", "studios"})
"""Prefixes of what the hubs have besides models, datasets and spaces."""


def refuse(text: str, clause: str, *, instead: str = "", hint: str = "") -> UsageError:
    """Make the error for a wrong reference.

    Args:
        text: The reference as given; shown without credentials and without a query.
        clause: What is wrong, as a clause that continues "the reference ...".
        instead: A valid reference that was probably meant.
        hint: What to do next; follows the suggestion.
    """
    # A suggestion is made of parts of the text, and a password could be one of them.
    found = re.search(_USERINFO, text)
    is_safe = found is None or ":" not in found[0]
    guess = f"Did you mean {quote(instead, CHARACTERS)}?" if instead and is_safe else ""
    return UsageError(f"{shown(text)} {clause}", hint=f"{guess} {hint}".strip())


def shown(text: str) -> str:
    """Quote a reference for a message: a URL without user name and password, query and fragment.

    The query of a signed address is a secret, and so is the fragment of an address of a server's panel.
    """
    plain = re.sub(_USERINFO, "", text)
    is_address = "//" in plain or re.match(r"[^/:]+\.[^/:]+/", plain) or re.search(r"[?#&][\w-]+=", plain)
    return quote(re.split(r"[?#]", plain, maxsplit=1)[0] if is_address else plain)


def why_bad_revision(revision: str) -> str:
    """Check a branch, tag or commit by the rules of ``git-check-ref-format``.

    Returns:
        What is wrong, as a clause that continues "the reference ...", or an empty string.
    """
    if not revision:
        return "has nothing after '@'"
    if len(revision) > _REVISION_CHARACTERS:
        return f"has a revision of more than {_REVISION_CHARACTERS} characters"
    if bad := re.search(r"[\s~^:?*\[\\]", revision):
        return f"has {bad[0]!r} in its revision, which git does not allow"
    if re.search(r"\A[-/]|[/.]\Z|\.\.|//|@\{|/\.|\A\.|\.lock(?:/|\Z)|%2[fF]", revision):
        return "has a revision that git does not allow"
    return ""


def check_revision(text: str, revision: str) -> None:
    """Refuse a revision that git does not allow.

    Raises:
        UsageError: It is not a name of a branch, tag or commit; ``text`` is the reference that has it.
    """
    clause = why_bad_revision(revision)
    if not clause:
        return
    if not revision:
        raise refuse(text, clause, instead=text.rstrip("@"))
    plain = re.sub("%2[fF]", "/", revision)
    if plain != revision and not why_bad_revision(plain):
        raise refuse(text, "has '%2F' where a revision has '/'", instead=text.replace(revision, plain))
    raise refuse(text, clause, hint="Write the name of a branch or tag, or a commit.")


def split_revision(parts: Sequence[str]) -> tuple[str, str]:
    """Split what follows ``tree``, ``blob`` or ``resolve`` into the first part of the revision, and the rest.

    ``refs/pr/N`` and ``refs/convert/NAME`` are taken whole. A part may contain slashes, where the address had
    ``%2F``: then it is the whole revision.
    """
    joined = "/".join(parts)
    if special := re.match(_SPECIAL, joined):
        return special[0], joined[special.end() + 1 :]
    return parts[0], "/".join(parts[1:])


def repository(text: str, hub: Hub, parts: Sequence[str]) -> tuple[RepoType, str, Sequence[str]]:
    """Read ``[TYPE/]OWNER/NAME`` at the beginning of a path.

    Args:
        text: The reference, for messages.
        hub: Which hub's rules apply.
        parts: The path, split at its slashes.

    Returns:
        The type of the repository, its id, and the parts that follow.

    Raises:
        UsageError: There is no valid repository.
    """
    kind, parts = _repo_type(text, hub, parts)
    if not all(parts[:2]):
        raise refuse(text, "names no repository", hint=f"Write {hub}:OWNER/NAME.")
    if len(parts) == 1 and hub == "hf":
        repo = parts[0]  # a legacy name without an owner, such as gpt2: the Hub redirects it
    elif len(parts) >= 2:
        repo = f"{parts[0]}/{parts[1]}"
    else:
        raise refuse(text, "names no repository", hint=f"Write {hub}:OWNER/NAME.")
    _check_repo(text, hub, kind, repo)
    return kind, repo, parts[2:]


def _repo_type(text: str, hub: Hub, parts: Sequence[str]) -> tuple[RepoType, Sequence[str]]:
    first = parts[0]
    if first in UNPINNABLE or (first, hub) == ("spaces", "ms"):
        hint = "Models and datasets can." if hub == "ms" else "Models, datasets and spaces can."
        raise refuse(text, f"is one of the {first} of {HUBS[hub]}, which cannot be pinned", hint=hint)
    if first in TYPES and len(parts) > 1:
        return TYPES[first], parts[1:]
    if f"{first}s" in TYPES and len(parts) == 3:
        prefix = "" if first == "model" else f"{first}s/"
        guess = f"{hub}:{prefix}{parts[1]}/{parts[2]}"
        raise refuse(text, f"starts with '{first}/' instead of '{first}s/'", instead=guess)
    return "model", parts


def _check_repo(text: str, hub: Hub, kind: RepoType, repo: str) -> None:
    if ":" in repo:
        raise _refuse_colon(text, hub, kind, repo)
    if repo.endswith(".git"):
        repo = repo.removesuffix(".git")
        raise refuse(
            text, "ends in '.git'", instead=_repo_text(hub, kind, repo) if _is_repo(hub, repo) else ""
        )
    if ".." in repo or (hub == "hf" and "--" in repo):
        raise refuse(text, f"has '--' or '..' in a name, which {HUBS[hub]} does not allow")
    if not _is_repo(hub, repo):
        hint = f"Write {hub}:OWNER/NAME; both are of at most 96 letters, digits and . _ - in ASCII."
        raise refuse(text, f"has no valid name of a repository on {HUBS[hub]}", hint=hint)


def _is_repo(hub: Hub, repo: str) -> bool:
    part = _PART if hub == "hf" else _LOOSE_PART
    return all(re.fullmatch(part, name) for name in repo.split("/"))


def _refuse_colon(text: str, hub: Hub, kind: RepoType, repo: str) -> UsageError:
    """Suggest what a colon after a repository stands for in other programs: a tag, quantization or file."""
    repo, _, tag = repo.partition(":")
    place = _repo_text(hub, kind, repo) if _is_repo(hub, repo) else ""
    if re.fullmatch(_VARIANT, tag):
        hint = f"Add --include '*{tag}*' to choose the variant."
        return refuse(text, "names a variant after ':'", instead=place, hint=hint)
    # Of a path in the repository, `repo` has the first part only.
    if file := re.fullmatch(_FILE, text.partition(f"{repo}:")[2]):
        hint = f"Add --include {quote(file[1] or file[2])} to choose the file."
        return refuse(text, "names a file after ':'", instead=place, hint=hint)
    instead = f"{place}@{tag}" if place and not why_bad_revision(tag) else place
    return refuse(text, "has ':' where a revision starts with '@'", instead=instead)


def _repo_text(hub: Hub, kind: RepoType, repo: str) -> str:
    return RepoReference(hub, repo, type=kind).text


def repo_reference(
    text: str, hub: Hub, kind: RepoType, repo: str, revision: str | None, tail: str = ""
) -> RepoReference:
    """Build a reference to a repository, after a check of revision and tail.

    Raises:
        UsageError: The revision is not one of git, or the tail is not a path.
    """
    if revision is not None:
        check_revision(text, revision)
    if tail and (clause := why_unsafe_remote(tail)):
        raise refuse(text, f"has a path that {clause}")
    return RepoReference(hub, repo, revision, kind, tail)


def github_reference(text: str, repo: str, tag: str | None, glob: str = "") -> GithubReference:
    """Build a reference to a release, after a check of its parts.

    Raises:
        UsageError: The repository, tag or pattern is not valid.
    """
    if repo.endswith(".git"):
        raise refuse(
            text, "ends in '.git'", instead=GithubReference(repo.removesuffix(".git"), tag, glob).text
        )
    if not re.fullmatch(_GITHUB, repo) or repo.endswith(("/.", "/..")):
        raise refuse(text, "names no repository of GitHub", hint="Write gh:OWNER/REPO@TAG.")
    if tag is not None:
        check_revision(text, tag)
    if "/" in glob or len(glob) > _REVISION_CHARACTERS:
        raise refuse(text, "has a pattern that is too long or has '/' in it; names of assets have none")
    return GithubReference(repo, tag, glob)
