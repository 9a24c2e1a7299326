"""The parser of references: text that a person types or pastes, to a value of ``model/reference.py``.

::

    onnx-community/whisper-base                   hf:onnx-community/whisper-base
    https://huggingface.co/org/repo/tree/v1       hf:org/repo@v1
    gh:ggml-org/llama.cpp@b4000:*-linux-*.zip     as it is
    hf:org/repo:main                              UsageError: Did you mean 'hf:org/repo@main'?

The text of a reference is untrusted. Its length is limited, control and invisible characters are refused, and
no message contains a password or the query of a URL. Nothing is requested from a network; the one question
to the disk is whether a path exists, which a caller may answer itself. The table of all forms is in
``docs/reference/references.md``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from modelfetch.errors import UsageError
from modelfetch.model.object_address import SCHEMES, parse_object_url
from modelfetch.model.page_address import parse_address
from modelfetch.model.paths import is_reference, why_unsafe_remote
from modelfetch.model.reference import DiskReference, IpfsReference, ObjectReference
from modelfetch.model.reference_parts import (
    CHARACTERS,
    TYPES,
    github_reference,
    refuse,
    repo_reference,
    repository,
    split_revision,
)
from modelfetch.model.registry_names import parse_oci, parse_ollama
from modelfetch.model.text import did_you_mean, is_hidden, shell_quoted

if TYPE_CHECKING:
    from modelfetch.model.reference import GithubReference, Hub, Reference, RepoReference

_SCHEME: Final = r"[A-Za-z][A-Za-z0-9+.-]*(?=:)"
"""A URI scheme (RFC 3986 section 3.1)."""
_DISK: Final = r"\.{0,2}/|\.{1,2}\Z|~(?:/|\Z)"
"""The beginning of a path: ``/``, ``./``, ``../``, ``~/``; or one of the directories ``.``, ``..``, ``~``."""
_WINDOWS: Final = r"[A-Za-z]:(?:[\\/]|\Z)|\\\\|\.{1,2}\\"
"""The beginning of a path on Windows: a drive, a share, or a relative path with backslashes."""
_SSH: Final = r"(?:ssh://)?git@(?:hf\.co|huggingface\.co)[:/](?P<place>[^:]+)"
"""The address of a repository of the Hub for git over SSH."""

_ALIASES: Final = {
    "huggingface": "hf",
    "hugging-face": "hf",
    "modelscope": "ms",
    "github": "gh",
    "docker": "oci",
    "ghcr": "oci",
    "git+https": "https",
    "s3a": "s3",
    "s3n": "s3",
    "gcs": "gs",
}
"""What other programs call a scheme."""
_FOREIGN: Final = frozenset({"abfs", "hdfs", "ftp", "sftp", "ssh", "git", "magnet", "data", "ipns", "kaggle"})
"""Schemes of addresses that cannot be pinned."""
_HF: Final = "https://huggingface.co"
_MS: Final = "https://modelscope.cn"
_HUBS: Final = ("hf:", "ms:", "gh:", "oci:", "ollama:")
_FORMS: Final = (
    "A reference starts with hf:, ms:, gh:, oci:, ollama:, ipfs:, https:// or s3://, or is a path."
)


def parse_reference(
    text: str,
    *,
    exists: Callable[[str], bool] = os.path.exists,
    hf_endpoint: str = _HF,
    ms_endpoint: str = _MS,
) -> Reference:
    """Parse a reference.

    Args:
        text: What a person typed or pasted; spaces around it are ignored.
        exists: Tells whether a path exists. It is asked only about what could be both: ``org/repo``.
        hf_endpoint: Base address of the Hugging Face Hub in use, whose pages are recognized too.
        ms_endpoint: The same for ModelScope.

    Returns:
        The reference. Parsing its ``text`` returns an equal value, except for the ``tail`` of a page.

    Raises:
        UsageError: The text is not a reference; the hint suggests what was probably meant.
    """
    text = text.strip()
    _check_text(text)
    try:
        return _parse(text, exists, hf_endpoint, ms_endpoint)
    except UsageError as error:
        raise _pasted(text) or error from None


def _parse(text: str, exists: Callable[[str], bool], hf_endpoint: str, ms_endpoint: str) -> Reference:
    if re.match(_DISK, text) or (os.name == "nt" and re.match(_WINDOWS, text)):
        return DiskReference(text)
    if found := re.match(_SCHEME, text):
        reader = _SCHEMES.get(found[0].lower())
        if reader is not None:
            return reader(text, text[found.end() + 1 :])
    address = None if "@" in text.partition("/")[0] else text
    page = address and parse_address(address, hf_endpoint=hf_endpoint, ms_endpoint=ms_endpoint)
    if page:
        return page
    if exists(text):
        return DiskReference(f"./{text}")
    return _bare(text)


def _pasted(text: str) -> UsageError | None:
    """Return a better error for a reference with something around it, or for a whole command."""
    from modelfetch.model.pasted_text import meant_by_command, without_surroundings

    plain = without_surroundings(text)
    if plain != text and _if_valid(plain):
        return refuse(text, "has other characters around it", instead=plain)
    if "\\" in text and (meant := _if_valid(text.replace("\\", "/"))) and meant.startswith(_HUBS):
        return refuse(text, "contains a backslash", instead=meant)
    if "#" in text and (meant := _if_valid(text.replace("#", "@", 1))).startswith(("hf:", "ms:")):
        return refuse(text, "has '#' where a revision starts with '@'", instead=meant)
    if " " not in text:
        return None
    if meant := meant_by_command(text, _if_valid):
        return refuse(text, "is a command, not a reference", instead=meant)
    first, _, rest = text.partition(" ")
    if is_reference(first) and "@" not in first and (meant := _if_valid(first)).startswith(_HUBS):
        hint = f"Add --include {shell_quoted(rest.strip())} to choose files."
        return refuse(text, "has a space in it", instead=meant, hint=hint if meant[2] == ":" else "")
    return None


def _check_text(text: str) -> None:
    if not text:
        raise UsageError("the reference is empty", hint=_FORMS)
    if len(text) > CHARACTERS:
        raise UsageError(f"the reference has more than {CHARACTERS} characters", hint=_FORMS)
    if hidden := next(filter(is_hidden, text), ""):
        raise UsageError(f"the reference contains the invisible character U+{ord(hidden):04X}")


# With a scheme


def _hf(text: str, body: str) -> RepoReference:
    return _hf_uri(text, body[2:]) if body.startswith("//") else _repo(text, "hf", body)


def _ms(text: str, body: str) -> RepoReference:
    return _repo(text, "ms", body.removeprefix("//"))


def _repo(text: str, hub: Hub, body: str) -> RepoReference:
    """Read ``[TYPE/]OWNER/NAME[@REVISION]``; everything after the ``@`` is the revision."""
    place, at, revision = body.partition("@")
    kind, repo, rest = repository(text, hub, place.split("/"))
    reference = repo_reference(text, hub, kind, repo, revision if at else None)
    if rest:
        hint = f"Add --include {shell_quoted('/'.join(rest))} to choose files." if all(rest) else ""
        raise refuse(text, "has more parts than OWNER/NAME", instead=reference.text, hint=hint)
    return reference


def _hf_uri(text: str, body: str) -> RepoReference:
    """Read the form of ``huggingface_hub``: ``hf://[TYPE/]OWNER/NAME[@REVISION][/PATH]``.

    There a revision ends at a slash; one of its own is written ``%2F``.
    """
    place, at, after = body.partition("@")
    kind, repo, rest = repository(text, "hf", place.split("/"))
    if not at:
        path = "/".join(rest)
        return repo_reference(text, "hf", kind, repo, "main" if path else None, path)
    if rest:
        raise refuse(text, "has '@' after a path", hint="Write hf://OWNER/NAME@REVISION/PATH.")
    revision, tail = split_revision(after.split("/"))
    return repo_reference(text, "hf", kind, repo, re.sub("%2[fF]", "/", revision), tail)


def _gh(text: str, body: str) -> GithubReference:
    """Read ``OWNER/REPO[@TAG][:GLOB]``; git allows no colon in a tag, so the first one ends it."""
    body = body.removeprefix("//")
    before, colon, glob = body.partition(":")
    repo, at, tag = before.partition("@")
    if colon and not glob:
        raise refuse(text, "names no assets after ':'", instead=text[:-1])
    return github_reference(text, repo, tag if at else None, glob)


def _ipfs(text: str, body: str) -> IpfsReference:
    from modelfetch.ipfs.cid import Cid  # needed for this scheme alone

    if body.startswith("//"):
        body = unquote(body[2:])
    cid, slash, path = body.removeprefix("ipfs/").partition("/")
    if not cid:
        raise refuse(text, "names no CID", hint="Write ipfs:CID or ipfs:CID/PATH.")
    try:
        known = Cid.parse(cid)
    except ValueError as error:
        raise refuse(text, f"has no valid CID: {error}", hint="Write ipfs:CID or ipfs:CID/PATH.") from None
    path = path.rstrip("/")
    if slash and path and (clause := why_unsafe_remote(path)):
        raise refuse(text, f"has a path that {clause}")
    return IpfsReference(known.text, path)


def _object(text: str, body: str) -> ObjectReference:
    """Read ``s3://BUCKET/KEY`` or ``s3://BUCKET/PREFIX/``; also for ``gs`` and ``az``."""
    scheme = text.partition(":")[0].lower()
    address = f"{scheme}:{body}"
    if not body.startswith("//"):
        raise refuse(
            text, f"has no '//' after '{scheme}:'", instead=_if_valid(f"{scheme}://{body.lstrip('/')}")
        )
    try:
        found = parse_object_url(address)
    except ValueError as error:
        hint = f"Write {scheme}://BUCKET/KEY or {scheme}://BUCKET/PREFIX/."
        raise refuse(text, f"{error}", hint=hint) from None
    return ObjectReference(found)


_SCHEMES: Final[dict[str, Callable[[str, str], Reference]]] = {
    "hf": _hf,
    "ms": _ms,
    "gh": _gh,
    "oci": parse_oci,
    "ollama": parse_ollama,
    "ipfs": _ipfs,
    **dict.fromkeys(SCHEMES, _object),
}
"""Readers of the schemes; each takes the whole text, for messages, and what follows the colon."""


# Without a scheme of ours


def _bare(text: str) -> Reference:
    """Read ``OWNER/NAME[@REVISION]`` of Hugging Face, or refuse what is no reference."""
    if found := re.fullmatch(_SSH, text):
        place = found["place"].removesuffix(".git")
        raise refuse(text, "is an address for git over SSH", instead=_if_valid(f"hf:{place}"))
    if re.match(_WINDOWS, text):
        raise refuse(text, "is a path of Windows", hint="Give the path as this system names it.")
    if "\\" in text:
        raise refuse(text, "contains a backslash", instead="./" + text.replace("\\", "/"))
    if found := re.match(_SCHEME, text):
        raise _refuse_scheme(text, found[0], text[found.end() + 1 :])
    if "/" not in text:
        hint = f"Write hf:OWNER/NAME for Hugging Face, or ./{text} for a file."
        raise refuse(text, "is neither a reference nor a path that exists", hint=hint)
    _check_bare(text, text.partition("@")[0].split("/"))
    return _hf(text, text)


def _check_bare(text: str, place: list[str]) -> None:
    """Refuse what has slashes, but is not ``[TYPE/]OWNER/NAME``; suggest a registry, a URL or a path."""
    if "." in place[0] and (len(place) > 2 or ":" in place[-1]):
        guess = f"oci:{text}" if ":" in place[-1] else f"https://{text}"
        raise refuse(text, "is neither a reference nor a path that exists", instead=_if_valid(guess))
    if place[0] in TYPES and len(place) == 2:
        raise refuse(text, "names no owner, and is not a path that exists", instead=f"./{text}")
    if len(place) > 3 and place[2] in ("tree", "blob", "resolve"):  # the path of a page
        page = f"https://huggingface.co/{text}"
        raise refuse(text, "is the path of a page", instead=page if _if_valid(page) else "")
    if len(place) > 2 and place[0] not in TYPES and f"{place[0]}s" not in TYPES:
        guess, files = _if_valid("hf:" + "/".join(place[:2])), "/".join(place[2:])
        hint = f"Add --include {shell_quoted(files)} to choose files." if guess and files else ""
        raise refuse(text, "is neither a reference nor a path that exists", instead=guess, hint=hint)


def _refuse_scheme(text: str, scheme: str, rest: str) -> UsageError:
    """Suggest the scheme that was probably meant."""
    name = scheme.lower()
    alias = _ALIASES.get(name)
    if name == "file":
        path = unquote(rest.removeprefix("//").removeprefix("localhost"))
        if not rest.startswith("/") and not re.match(_DISK, path):
            path = f"./{path}"
        return refuse(text, "is the URL of a path", instead=path if re.match(_DISK, path) else "")
    if name in _FOREIGN:
        hint = "Give an https:// address of the file, or fetch it and give its path."
        return refuse(text, f"is an address of {name}, which cannot be pinned", hint=hint)
    if name in ("http", "https"):
        return refuse(
            text, f"has no '//' after '{scheme}:'", instead=_if_valid(f"{name}://{rest.lstrip('/')}")
        )
    if re.match(r"[0-9]{1,5}/", rest):
        return refuse(text, "is a host with a port", instead=_if_valid(f"oci:{text}"))
    if "@" in rest.partition("/")[0]:
        return UsageError("the reference contains a user name or password", hint=_FORMS)
    guess = alias or did_you_mean(name, _SCHEMES).partition("'")[2].partition("'")[0]
    if re.fullmatch(r"[0-9][\w.-]*|latest", rest) or not guess:
        instead = _if_valid(f"ollama:{text}")  # llama3.2:1b, as ollama itself names a model
    else:
        instead = _if_valid(f"{guess}:{rest}") or _if_valid(f"{guess}:{rest.lstrip('/')}")
    clause = f"starts with the unknown scheme '{scheme}:'"
    return refuse(text, clause, instead=instead, hint="" if instead else _FORMS)


def _if_valid(text: str) -> str:
    """Return a suggestion if it is a reference, else an empty string; the query of a URL is not shown."""
    try:
        found = _parse(text, lambda _: False, _HF, _MS).text
    except UsageError:
        return ""
    return "" if "?" in found and "://" in found else found
