"""The built-in manifests: files of the package, in a directory or inside a zip archive with the program."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

BUILTIN: Final = Path(__file__).parent
"""The directory of the built-in manifests. Inside an archive its paths are names only: nothing opens them."""


@cache
def archive() -> Path | None:
    """The archive that the package lies in (zipapp, shiv, PEX); None where it is installed in a directory."""
    if BUILTIN.is_dir():
        return None
    return next((above for above in BUILTIN.parents if above.is_file()), None)


def paths() -> list[Path]:
    """List what lies in the directory.

    Raises:
        OSError: It cannot be listed.
    """
    if archive() is None:
        return list(BUILTIN.iterdir())
    return [BUILTIN / entry.name for entry in _resources().iterdir()]


def content(path: Path) -> bytes | None:
    """Read a file of the directory from the archive; None where it is a file of the system.

    Args:
        path: As :func:`paths` gives it.
    """
    return None if archive() is None else _resources().joinpath(path.name).read_bytes()


def consulted(path: Path) -> Path:
    """The file of the system that decides what a manifest says."""
    return archive() or path


def _resources() -> Traversable:
    from importlib.resources import files  # takes longer to import than all manifests to list

    return files("modelfetch.catalog")
