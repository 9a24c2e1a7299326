"""Access to the built-in manifests, in the directory of the package or inside a zip archive.

A program packed by zipapp, shiv or PEX runs from an archive. Its manifests have no files of their own, so
they are read through :mod:`importlib.resources`. For all other purposes a manifest has the path that it would
have in a directory.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

BUILTIN: Final = Path(__file__).parent
"""The directory of the built-in manifests. Inside an archive its paths only serve as names."""


@cache
def archive() -> Path | None:
    """Return the archive that has the package (zipapp, shiv, PEX); None if it is installed in a directory."""
    if BUILTIN.is_dir():
        return None
    return next((above for above in BUILTIN.parents if above.is_file()), None)


def paths() -> list[Path]:
    """List the directory of the built-in manifests.

    Raises:
        OSError: The directory cannot be listed.
    """
    if archive() is None:
        return list(BUILTIN.iterdir())
    return [BUILTIN / entry.name for entry in _resources().iterdir()]


def content(path: Path) -> bytes | None:
    """Read a file of the directory from the archive; return None if there is no archive.

    Args:
        path: A path from :func:`paths`.
    """
    return None if archive() is None else _resources().joinpath(path.name).read_bytes()


def consulted(path: Path) -> Path:
    """Return the file on disk that holds a manifest: the archive or the manifest itself."""
    return archive() or path


def _resources() -> Traversable:
    from importlib.resources import files  # importing it takes longer than listing all manifests

    return files("modelfetch.catalog")
