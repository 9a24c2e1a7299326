"""The identity of a cache towards other machines: equal for all processes that use it, and for no others.

A server announces it and sends it with its answers. So a run does not ask a server for what is missing in the
cache of both. It is a SHA-256 of the inode of the cache and of what tells this machine from others: on Linux
the random number of this boot (``/proc/sys/kernel/random/boot_id``), elsewhere the address of its network
card. Where a cache lies on a disk that several machines share, the machine is left out. Only Linux tells
that; elsewhere such machines ask each other in vain.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Final

from modelfetch.store.flock import is_local

DIGITS: Final = 16
"""Hex digits of an identity: 64 bits, so that machines in one network never share one by chance."""

_FORM: Final = re.compile(rf"[0-9a-f]{{{DIGITS}}}")
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def instance_of(root: Path) -> str:
    """Return the identity of a cache.

    Args:
        root: The cache root. While it does not exist, the identity is another one, that of this path on this
            machine: new machines all have the same path, and must not take each other for one.
    """
    try:
        found = os.stat(root)  # noqa: PTH116 - as in the rest of this package
    except OSError:
        is_shared, place = False, str(root)
    else:
        is_shared = sys.platform == "linux" and not is_local(root)
        place = f"{found.st_ino}" if is_shared else f"{found.st_dev} {found.st_ino}"
    facts = f"modelfetch cache {'' if is_shared else _machine()} {place}"
    return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:DIGITS]


def is_instance(text: str) -> bool:
    """Return whether a text from another machine has the form of an identity."""
    return _FORM.fullmatch(text) is not None


def _machine() -> str:
    """Return what no other machine has, and all processes of this one see."""
    try:
        return _boot_id(_BOOT)
    except (OSError, UnicodeError):  # another system
        import platform  # takes 7 ms, and is of no use on Linux
        import uuid

        node = uuid.getnode()
        # Without a network card each process gets a random number, with this bit set (RFC 9562, 6.10).
        return platform.node() if node >> 40 & 1 else f"{node:x}"


@cache
def _boot_id(path: Path) -> str:
    """Read the random number of this boot; raises OSError or UnicodeError on other systems.

    It is kept: if it could not be read later, for lack of descriptors, this machine would have another name.
    """
    return path.read_text("ascii").strip()
