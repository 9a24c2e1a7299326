"""The stamp behind the warm answer: which receipt speaks of a model, and what decided that. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from modelfetch.store.receipt import Consulted, Receipt, Stamp
from modelfetch.warm import FORMAT


def stamp_text(
    receipt: Receipt, look: Stamp, consulted: Sequence[Consulted], circumstances: Sequence[str]
) -> bytes | None:
    """Note everything :mod:`modelfetch.warm` relies on; it reads the rest from the receipt itself.

    Args:
        receipt: The receipt.
        look: What its file looks like.
        consulted: Catalog and config files that had a say.
        circumstances: :func:`modelfetch.warm.circumstances` of this run.

    Returns:
        The text, or None where a path has a line break in it, which the form cannot hold.
    """
    lines = [
        FORMAT,
        f"receipt {_look(look)} {receipt.label}",
        *circumstances,
        *map(_consulted, consulted),
        "end",
    ]
    if any("\n" in line or "\r" in line for line in lines):
        return None
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _consulted(found: Consulted) -> str:
    return f"absent - {found.path}" if found.stamp is None else f"read {_look(found.stamp)} {found.path}"


def _look(stamp: Stamp) -> str:
    """What :func:`modelfetch.warm.stamp_of` gives for a file that looks like this."""
    return f"{stamp.size}-{stamp.mtime_ns}-{stamp.inode}"
