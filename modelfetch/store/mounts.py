"""Which file systems belong to this machine alone."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

_LOCAL: Final = frozenset(
    {"bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "overlay", "ramfs"}
    | {"reiserfs", "tmpfs", "vfat", "xfs", "zfs"}
)
"""Types whose locks the kernel of this machine keeps. An allow-list: NFS, SMB, Lustre, GPFS, Ceph, 9p,
virtiofs and everything in user space may be shared with machines that know nothing of our locks."""

_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_known: Final[dict[int, bool]] = {}
"""By device: the table of mounts is long, and every lock asks."""
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def is_local(path: Path) -> bool:
    """Whether a file is known to lie on a local file system; False where that cannot be found out."""
    with suppress(OSError, UnicodeError):
        device = os.stat(path).st_dev  # noqa: PTH116 - asked for every file, and pathlib takes its time
        if device not in _known:
            _known[device] = file_system(_MOUNTINFO.read_text(), os.path.realpath(path)) in _LOCAL
        return _known[device]
    return False


def file_system(mountinfo: str, path: str) -> str:
    """Find the type of the file system a path lies on.

    Args:
        mountinfo: The table in the format of proc_pid_mountinfo(5).
        path: Absolute and without symbolic links.

    Returns:
        The type of the innermost mount, the last one where several lie over each other; empty if none.
    """
    depth, found = -1, ""
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) < 5:
            continue
        point = _OCTAL.sub(lambda escape: chr(int(escape[1], 8)), fields[4]).rstrip("/")
        if len(point) >= depth and (path == point or path.startswith(f"{point}/")):
            depth, found = len(point), source.partition(" ")[0]
    return found
