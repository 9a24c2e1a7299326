"""What upstreams do alike: collect the files of a listing, and report requests that failed.

A listing comes from outside. Its number of files is limited, every path must be relative, and two entries for
one path must state the same content. A listing that breaks a rule is refused; it is never cut::

    files = FileCollector("hf:org/repo")
    files.add(UpstreamFile("model.onnx", 100, sha256))
    files.finish()
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeVar

from modelfetch.errors import (
    AuthorizationError,
    Fault,
    ModelfetchError,
    SourceError,
    UnavailableError,
    UnknownModelError,
    UsageError,
)
from modelfetch.model.decode import decode
from modelfetch.model.paths import why_unsafe_remote
from modelfetch.model.text import quote
from modelfetch.net.urls import host_of

if TYPE_CHECKING:
    from modelfetch.upstreams.base import UpstreamFile

T = TypeVar("T")

MAX_FILES: Final = 20_000
"""Most files of a listing: the limit of a manifest."""


def nonsense(message: str) -> UnavailableError:
    """Return the error for an answer that contradicts itself or its format."""
    return UnavailableError(
        message, hint="Try again; if it happens again, check the endpoint in `modelfetch config show`."
    )


class FileCollector:
    """Collects and checks the files of one listing.

    Args:
        what: The repository, as messages name it.
        hint: What to do if it has too many files.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        self._what = what
        self._hint = hint
        self._files: dict[str, UpstreamFile] = {}

    def __len__(self) -> int:
        return len(self._files)

    def add(self, file: UpstreamFile) -> None:
        """Add a file. The same entry may come twice, because pages may overlap.

        Raises:
            UnavailableError: The path is not relative, or an earlier entry states other content for it.
            UsageError: There are more than :data:`MAX_FILES` files.
        """
        # A backslash is allowed here: git allows it, and such a file can be excluded from the pin.
        if why := why_unsafe_remote(file.path.replace("\\", "_")):
            raise nonsense(f"{self._what} lists the unsafe path {quote(file.path)}: the path {why}")
        before = self._files.setdefault(file.path, file)
        if before != file:
            raise UnavailableError(
                f"{self._what} lists {quote(file.path)} twice, with different contents",
                hint="Perhaps it changed meanwhile: try again.",
            )
        if len(self._files) > MAX_FILES:
            raise UsageError(
                f"{self._what} has more than {MAX_FILES:,} files, the limit of a manifest", hint=self._hint
            )

    def finish(self) -> tuple[UpstreamFile, ...]:
        """Return the files, sorted by path."""
        return tuple(self._files[path] for path in sorted(self._files))


def longest_name(whole: str, names: Iterable[str], otherwise: str) -> str:
    """Return the revision at the beginning of the end of a page address.

    A branch may contain slashes: of ``tree/a/b/c`` the revision is ``a``, ``a/b`` or ``a/b/c``, the longest
    that exists.

    Args:
        whole: What follows ``tree/``.
        names: The names of all branches and tags.
        otherwise: The revision if none of them fits, such as a commit.
    """
    fitting = [name for name in names if name and f"{whole}/".startswith(f"{name}/")]
    return max(fitting, key=len, default=otherwise)


def select(files: list[UpstreamFile], folder: str, what: str) -> tuple[list[UpstreamFile], tuple[str, ...]]:
    """Return the files of a folder, or the one file that is meant, and the patterns that select them.

    Args:
        files: All files.
        folder: The path from the address of a page; empty for all files.
        what: The repository, as messages name it.

    Raises:
        UnknownModelError: There is no such file or folder.
    """
    if not folder:
        return files, ()
    for file in files:
        if file.path == folder:
            return [file], (glob.escape(folder),)
    inside = [file for file in files if file.path.startswith(f"{folder}/")]
    if not inside:
        raise UnknownModelError(
            f"{what} has no file or folder {quote(folder)}",
            hint="Leave out the path to pin the whole repository, or select files with --include.",
        )
    return inside, (f"{glob.escape(folder)}/*",)


def checked(kind: type[T], document: object, what: str) -> T:
    """Decode a JSON object of a hub; see :func:`modelfetch.model.decode.decode`.

    Args:
        kind: The dataclass.
        document: The object.
        what: Host and kind of document, as messages name them: ``huggingface.co: the listing``.

    Raises:
        UnavailableError: A value is missing or has the wrong type.
    """
    try:
        return decode(kind, document)
    except ValueError as error:
        raise nonsense(f"{what} cannot be read: {error}") from error


def failure(error: SourceError, url: str, what: str, *, refused: str = "") -> ModelfetchError:
    """Translate the failure of a request.

    Args:
        error: The failure.
        url: Address of the request; only its host is shown.
        what: What was to be done: ``list the files of hf:org/repo``.
        refused: Hint if access was refused.

    Returns:
        AuthorizationError or UnavailableError, one clear line.
    """
    message = f"cannot {what}: {error.elsewhere or host_of(url)}: {error.message}"
    if error.fault is Fault.AUTHORIZATION:
        return AuthorizationError(message, hint=refused or error.hint)
    if error.retry_after is not None:
        message += f"; it asks to wait {error.retry_after:.0f} s"
    if error.fault is Fault.BUSY:
        return UnavailableError(message, hint="Try again later; with a token, hubs allow more requests.")
    return UnavailableError(message, hint=error.hint or "Try again later, or name another source.")
