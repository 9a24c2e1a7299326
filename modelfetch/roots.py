"""Whether the root of a cache can be trusted. Standard library only: the warm answer asks, too."""

import os
import stat
import sys


def doubt(found: os.stat_result, user: int) -> str:
    """Say what speaks against the root of a cache.

    Who may write to it can take away or replace whatever is in it, also what was verified. Its group is left
    out: a cache that is shared on purpose is a group's.

    Args:
        found: What ``stat`` says of the root, through links.
        user: Number of the user who runs this.

    Returns:
        A clause that continues the sentence "the cache ...", or an empty string.
    """
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        return "is writable by every user of this machine"
    if found.st_uid not in (user, 0):
        return f"belongs to another user ({found.st_uid})"
    return ""


def doubt_about(root: str) -> str:
    """Say what speaks against a root; nothing where there is none yet, or where files have no modes."""
    if sys.platform == "win32":
        return ""
    try:
        return doubt(os.stat(root), os.geteuid())
    except OSError:
        return ""
