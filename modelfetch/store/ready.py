"""The stamp behind the warm answer: the facts of a receipt, a line each, read without any library. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from modelfetch.model.units import format_size
from modelfetch.store.receipt import Consulted, Receipt, Stamp
from modelfetch.warm import FORMAT


def stamp_text(
    directory: Path,
    receipt: tuple[Path, Stamp],
    files: Receipt,
    consulted: Sequence[Consulted],
    circumstances: Sequence[str],
) -> bytes | None:
    """Note everything :mod:`modelfetch.warm` relies on.

    Args:
        directory: Of the model's version; absolute.
        receipt: The receipt's path, and what it looks like.
        files: What the receipt says.
        consulted: Catalog and config files that had a say.
        circumstances: :func:`modelfetch.warm.circumstances` of this run.

    Returns:
        The text, or None where a path has a line break in it, which the form cannot hold.
    """
    words = f"{files.name} is ready - {len(files.files)} files, {format_size(files.size)}, already here"
    lines = [FORMAT, f"model {directory}", f"words {words}", *circumstances, *map(_consulted, consulted)]
    lines += [_line("read", receipt[1], receipt[0]), *_files(directory, files), "end"]
    if any("\n" in line or "\r" in line for line in lines):
        return None
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _consulted(found: Consulted) -> str:
    if found.stamp is None:
        return f"absent 0 0 0 {found.path}"
    return _line("read", found.stamp, found.path)


def _files(directory: Path, receipt: Receipt) -> Iterator[str]:
    for file in receipt.files:
        yield _line("file", file.stamp, directory / file.path)


def _line(kind: str, stamp: Stamp, path: Path) -> str:
    return f"{kind} {stamp.size} {stamp.mtime_ns} {stamp.inode} {path}"
