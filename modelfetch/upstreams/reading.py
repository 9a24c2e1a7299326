"""Reading a file of a repository for its digest, and refusing files that stand for others.

A git checkout without LFS leaves pointers of about 130 bytes in place of large files, and a symbolic link is
stored as the text of its target. Size and git blob id of both agree with the listing of the hub, so they
would be pinned as a model of 130 bytes::

    version https://git-lfs.github.com/spec/v1
    oid sha256:248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707
    size 548105171
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Generator
from typing import TYPE_CHECKING, Final

from modelfetch.errors import SourceError, UsageError
from modelfetch.model.paths import why_unsafe_remote
from modelfetch.model.text import quote
from modelfetch.model.units import SIZE_LIMIT
from modelfetch.upstreams.collect import failure

if TYPE_CHECKING:
    from modelfetch.net.credentials import Credential
    from modelfetch.net.hub_client import HubClient
    from modelfetch.upstreams.base import UpstreamFile

LFS_VERSION: Final = b"version https://git-lfs.github.com/spec/v1\n"
"""First line of an LFS pointer (Git LFS specification, "The pointer")."""

_SMALL: Final = 1024
"""Bytes of the largest file that may stand for another one: the specification limits pointers to this."""


def pieces_of(
    hub: HubClient, file: UpstreamFile, credential: Credential | None, paths: Collection[str], refused: str
) -> Generator[bytes, None, None]:
    """Yield the bytes of a file.

    Args:
        hub: Client for requests.
        file: The file, with its ``fetch_url``.
        credential: Sent to its own origin only.
        paths: The paths of all files in the repository, to which a link may lead.
        refused: Hint if access is refused.

    Raises:
        UsageError: The file is an LFS pointer or a symbolic link, or its path is not safe.
        UnavailableError: The bytes cannot be read.
        AuthorizationError: Access was refused.
        Cancelled: The run was cancelled.
    """
    if why := why_unsafe_remote(file.path):  # the server could resolve ".." to another repository
        raise UsageError(f"cannot read {quote(file.path)}: the path {why}", hint="Leave it out: --exclude.")
    limit = SIZE_LIMIT if file.size is None else file.size
    try:
        pieces = hub.download(file.fetch_url, limit, credential=credential)
        if limit > _SMALL or file.sha256 is not None:
            yield from pieces
            return
        content = b"".join(pieces)
    except SourceError as error:
        raise failure(error, file.fetch_url, f"read {quote(file.path)}", refused=refused) from error
    refuse_stand_in(file.path, content, paths)
    yield content


def refuse_stand_in(path: str, content: bytes, paths: Collection[str]) -> None:
    """Refuse a small file that is an LFS pointer, or the text of a symbolic link.

    Args:
        path: The path of the file.
        content: Its bytes.
        paths: The paths of all files in the repository.

    Raises:
        UsageError: It stands for another file.
    """
    if content.startswith(LFS_VERSION):
        raise UsageError(
            f"{quote(path)} is a Git LFS pointer, not the file itself: the upload was incomplete",
            hint="Leave it out with --exclude, or ask the owner of the repository to upload the file.",
        )
    target = _link_target(path, content)
    # The same suffix, because a text file may well name another file ("latest.txt").
    if target in paths and target != path and posixpath.splitext(path)[1] == posixpath.splitext(target)[1]:
        raise UsageError(
            f"{quote(path)} is a symbolic link to {quote(target)}, not a file of its own",
            hint="Leave it out with --exclude.",
        )


def _link_target(path: str, content: bytes) -> str:
    """Return the path in the repository that a link with this text leads to; empty if it cannot be one."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return ""
    if not text or "\n" in text or text.startswith("/"):
        return ""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), text))
