"""Files of checksums beside other files, such as ``SHA256SUMS``: the format of ``sha256sum``. Pure.

Each line is a digest and a name, in one of the two forms that sha256sum (GNU coreutils) writes::

    9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  model.onnx
    SHA256 (model.onnx) = 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
"""

from __future__ import annotations

import re
from typing import Final

SUMS_BYTES: Final = 1 << 20
"""Largest file of checksums in bytes; one for 1,000 assets has about 100 kB."""

_SUMS: Final = frozenset({"sha256sums", "sha256sums.txt", "sha256sum", "sha256sum.txt"})
"""Names of files of checksums, without regard to case."""
_SUM: Final = re.compile(r"([0-9A-Fa-f]{64}) [ *](?:\./)?([^/\\]+)")
"""A line of sha256sum (GNU coreutils): digest, space, ``*`` or space, name. A name with a backslash would be
escaped there, and no asset has one."""
_SUM_BSD: Final = re.compile(r"SHA256 \((?:\./)?([^/\\]+)\) = ([0-9A-Fa-f]{64})")
"""A line of ``sha256sum --tag``."""


def is_sums(name: str) -> bool:
    """Whether a file of this name should contain checksums."""
    return name.casefold() in _SUMS


def parse_sums(content: bytes) -> dict[str, str]:
    """Read a file in the format of ``sha256sum``: SHA-256 in lowercase by name.

    Raises:
        ValueError: A line is malformed, or a name has two digests. Then no line of the file is used, because
            a file in another format could be misread.
    """
    found: dict[str, str] = {}
    # Undecodable bytes become characters that no name of an asset has.
    for number, ended in enumerate(content.decode(errors="replace").split("\n"), start=1):
        line = ended.removesuffix("\r")
        if not line:
            continue
        if match := _SUM.fullmatch(line):
            digest, name = match.groups()
        elif match := _SUM_BSD.fullmatch(line):
            name, digest = match.groups()
        else:
            raise ValueError(f"line {number} is not a SHA-256 and a name")
        if found.setdefault(name, digest.lower()) != digest.lower():
            raise ValueError(f"line {number} has another digest for a name than an earlier line")
    return found
