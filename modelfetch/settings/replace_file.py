"""Replaces a small file in one step, for settings, a project's file, and manifests; names new files.

The new content is written to a temporary file beside the old one, synced, and renamed. So a crash leaves the
old content or the new one. A symbolic link is kept: its target is replaced.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
"""Mode of a new file that may hold credentials, such as mirrors with a password."""
PUBLIC: Final = 0o666
"""Mode of a new file that others may read, as far as the umask allows."""


def replace_file(path: Path, data: bytes, *, mode: int = PRIVATE, directory_mode: int = 0o777) -> None:
    """Replace the content of a file, or create it; an existing file keeps its mode.

    Args:
        path: The file; of a symbolic link the target is replaced.
        data: Its new content.
        mode: Mode of a new file, before the umask.
        directory_mode: Mode of the directory, if it has to be created.

    Raises:
        OSError: The disk refused, or the path is no regular file.
    """
    target = path.resolve()
    kept = _mode(target)
    target.parent.mkdir(mode=directory_mode, parents=True, exist_ok=True)
    # In the same directory: rename() is atomic within one file system only.
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
    try:
        _create(temporary, data, mode)
        if kept is not None:
            temporary.chmod(kept)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def create_file(path: Path, data: bytes) -> None:
    """Create a file that others may read; unlike :func:`replace_file`, it must not exist.

    Raises:
        FileExistsError: There is something of this name.
        OSError: The disk refused.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        _create(temporary, data, PUBLIC)
        try:
            os.link(temporary, path)  # fails if the name is taken, which rename() does not
        except FileExistsError:
            raise
        except OSError:  # no hard links here, as on FAT and some network file systems
            _create(path, data, PUBLIC)
    finally:
        with suppress(OSError):
            temporary.unlink()


def name_new(temporary: Path, path: Path) -> None:
    """Give a large file that was written under a temporary name its final name.

    Without hard links, as on FAT, a file that gets the name at the same moment is replaced.

    Raises:
        FileExistsError: There is something of this name.
        OSError: The disk refused.
    """
    try:
        os.link(temporary, path)  # fails if the name is taken, which rename() does not
    except FileExistsError:
        raise
    except OSError:
        temporary.rename(path)


def _create(path: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # before the rename, or a power cut may leave an empty file under the name


def _mode(target: Path) -> int | None:
    """Return the mode of an existing file; refuse a device such as ``/dev/null``, which must stay one."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return stat.S_IMODE(mode)
