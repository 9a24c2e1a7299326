"""A directory or a file on this disk. Digests are computed from the bytes, which become blobs of the cache.

A directory is searched with all directories below it. What is not part of a model is left out, and a notice
says so:

* hidden files and directories, whose names start with ``.``;
* unfinished downloads of other programs (``.part``, ``.incomplete``, ``.crdownload``,
  ``.downloadInProgress``);
* links to directories, and links out of the directory, because they could lead anywhere;
* what is no file: sockets, FIFOs and devices.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from modelfetch.errors import StoreError, UnavailableError, UnknownModelError, UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.paths import DEPTH
from modelfetch.model.reference import DiskReference
from modelfetch.model.regular_file import hint_for, open_regular
from modelfetch.model.text import quote, visible
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.collect import MAX_FILES
from modelfetch.upstreams.reading import LFS_VERSION

if TYPE_CHECKING:
    from modelfetch.model.reference import Reference
    from modelfetch.upstreams.access import Access

PARTIALS: Final = (".part", ".incomplete", ".crdownload", ".downloadinprogress")
"""Suffixes of unfinished downloads, in lowercase: of curl-like programs and Firefox, the Hugging Face
libraries, Chromium, and llama.cpp."""
BLOCK: Final = 1 << 20
"""Bytes read at a time."""
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""What was found as a file could be a link or a FIFO by now."""
_PROGRAMS: Final = (b"#!", b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""How programs begin: scripts, ELF, PE, and Mach-O (64 bits and universal)."""
_SHOWN: Final = 3
"""Most names in one notice."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A regular file below the directory."""

    path: str
    """Relative, with slashes."""
    file: Path
    status: os.stat_result


class Walk:
    """Collects the files of a directory, and what was left out.

    Args:
        root: The directory; absolute, without links.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.files: list[_Found] = []
        self._skipped: dict[str, list[str]] = {}

    def run(self) -> None:
        """Search the directory.

        Raises:
            StoreError: A directory cannot be read.
            UsageError: There are too many files, or directories too deep.
        """
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            if folder.count("/") >= DEPTH:
                raise UsageError(
                    f"{quote(folder)} is more than {DEPTH} directories deep", hint="Add a part of it."
                )
            for entry in _entries(self._root / folder):
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.startswith("."):
                    self._skip("hidden files and directories", path)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                else:
                    self._add(path, entry)

    @property
    def notices(self) -> tuple[str, ...]:
        """What was left out, a line for each reason."""
        return tuple(f"left out {what}: {_some(paths)}" for what, paths in sorted(self._skipped.items()))

    def _skip(self, what: str, path: str) -> None:
        self._skipped.setdefault(what, []).append(path)

    def _add(self, path: str, entry: os.DirEntry[str]) -> None:
        if entry.name.casefold().endswith(PARTIALS):
            self._skip("unfinished downloads", path)
            return
        file = self._target(entry) if entry.is_symlink() else Path(entry.path)
        if file is None:
            self._skip("links that lead out of the directory, to a directory or to nothing", path)
            return
        try:
            found = file.stat(follow_symlinks=False)
        except OSError as error:
            raise unreadable(file, error) from error
        if not stat.S_ISREG(found.st_mode):
            self._skip("special files", path)
            return
        self.files.append(_Found(path, file, found))
        if len(self.files) > MAX_FILES:
            raise UsageError(
                f"{quote(str(self._root))} has more than {MAX_FILES:,} files, the limit of a manifest",
                hint="Add a directory inside it.",
            )

    def _target(self, entry: os.DirEntry[str]) -> Path | None:
        """The regular file that a link leads to, if it is inside the directory."""
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):  # dangling, or a circle of links
            return None
        is_inside = target.is_relative_to(self._root)
        return target if is_inside and target.is_file() else None


class LocalDisk:
    """Directories and files on this disk."""

    @classmethod
    def from_access(cls, access: Access) -> LocalDisk:  # noqa: ARG003 - as every upstream is made
        """Needs neither requests nor settings."""
        return cls()

    def resolve(self, reference: Reference) -> Listing:
        """List the files; see :meth:`.Upstream.resolve`.

        Raises:
            StoreError: A directory or file cannot be read.
            UsageError: Its path cannot be a part of a manifest.
        """
        # A shell expands ~ itself, but not in quotes, and there is none in front of a Python call.
        given = Path(os.path.expanduser(cast("DiskReference", reference).path)).absolute()  # noqa: PTH111 - never raises
        try:
            root = given.resolve(strict=True)
            found = root.stat()
        except (OSError, RuntimeError) as error:
            if isinstance(error, PermissionError):
                raise unreadable(given, error) from error
            raise UnknownModelError(f"{quote(str(given))} does not exist on this disk") from error
        if str(given) != visible(str(given)):  # a byte that is no UTF-8 is one of these, too
            raise UsageError(
                f"the path {quote(str(given), 200)} contains a control or invisible character",
                hint="Rename the directory or file: its path becomes a part of the manifest.",
            )
        name = given.name if given.name not in ("", "..") else root.name
        notices: tuple[str, ...] = ()
        if stat.S_ISREG(found.st_mode):
            files = [_Found(name, root, found)]
            name = Path(name).stem
        elif stat.S_ISDIR(found.st_mode):
            files, notices = _search(root)
        else:
            raise UsageError(f"{quote(str(given))} is neither a directory nor a file")
        # The absolute path, because a later run may have another working directory.
        return Listing(
            DiskReference(str(root if ".." in given.parts else given)),
            revision="",
            files=tuple(map(_upstream_file, sorted(files, key=lambda each: each.path))),
            stated_by="computed",
            name=name,
            notices=notices,
        )

    @contextmanager
    def open(self, file: UpstreamFile) -> Iterator[Iterator[bytes]]:
        """Open a file; see :meth:`.Upstream.open`.

        Raises:
            StoreError: The file cannot be read.
            UsageError: It is a Git LFS pointer.
        """
        assert file.disk is not None, "a file of another upstream"
        try:
            fd = os.open(file.disk, _FLAGS | _NO_LINK)
        except OSError as error:
            raise unreadable(file.disk, error) from error
        with os.fdopen(fd, "rb", buffering=0) as opened:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise UnavailableError(f"{quote(str(file.disk))} is no longer a regular file")
            yield _blocks(file, opened)


def unreadable(path: Path, error: OSError) -> StoreError:
    """Make the error for a path that cannot be read."""
    return StoreError(
        f"cannot read {quote(str(path), 200)}: {(error.strerror or 'unknown error').lower()}",
        hint=hint_for(error),
    )


def _some(paths: list[str]) -> str:
    shown = ", ".join(map(quote, sorted(paths)[:_SHOWN]))
    return f"{shown} and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else shown


def _search(root: Path) -> tuple[list[_Found], tuple[str, ...]]:
    walk = Walk(root)
    walk.run()
    if not walk.files:
        raise UsageError(
            f"{quote(str(root), 200)} has no files that can be pinned",
            hint="; ".join(walk.notices).capitalize() or "The directory is empty.",
        )
    return walk.files, walk.notices


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError as error:
        raise unreadable(directory, error) from error


def _upstream_file(found: _Found) -> UpstreamFile:
    return UpstreamFile(
        found.path, found.status.st_size, None, disk=found.file, executable=_is_program(found)
    )


def _is_program(found: _Found) -> bool:
    """Whether a file may be executed and is a program.

    The mode alone does not say it: on file systems without modes (FAT, NTFS, SMB) every file has those bits.
    """
    if not found.status.st_mode & stat.S_IXUSR:
        return False
    try:
        with open_regular(found.file) as opened:
            return opened.read(4).startswith(_PROGRAMS)
    except OSError as error:
        raise unreadable(found.file, error) from error


def _blocks(file: UpstreamFile, opened: io.FileIO) -> Iterator[bytes]:
    path = cast("Path", file.disk)
    try:
        while block := opened.read(BLOCK):
            # A git checkout without LFS has pointers in place of its large files.
            if block.startswith(LFS_VERSION):
                raise UsageError(
                    f"{quote(file.path)} is a Git LFS pointer, not the file itself",
                    hint="Run `git lfs pull` there, or leave it out with --exclude.",
                )
            yield block
    except OSError as error:
        raise unreadable(path, error) from error
