"""Removes a pin: its manifest with what was published beside it, and its name in the project's file.

The cache is not touched.

Only manifests of the user's catalog and of the project's are deleted. The built-in catalog is part of the
program, and the catalogs of ``MODELFETCH_CATALOG`` may belong to others.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.catalog.lookup import SKELETON_SUFFIX, TORRENT_SUFFIX
from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import quote, sanitize
from modelfetch.pins.catalogs import remove_pin
from modelfetch.pins.project_file import is_in_project, remove_from_project

if TYPE_CHECKING:
    from modelfetch.catalog.lookup import CatalogEntry
    from modelfetch.workspace import Workspace

_OWN: Final = ("user", "project")
"""Catalogs whose manifests are deleted."""


@dataclass(frozen=True, slots=True)
class Unpinned:
    """What was changed, or would be."""

    paths: tuple[Path, ...]
    """The manifest and its companions that were deleted, and the project's file if it listed the name."""


def unpin(workspace: Workspace, name: str, *, dry_run: bool) -> Unpinned:
    """Delete the manifest of a model, its skeleton and its torrent, and take its name out of ``models``.

    Args:
        workspace: Whose catalogs and project are meant.
        name: The model.
        dry_run: Whether nothing is changed.

    Raises:
        UnknownModelError: No catalog has a model of this name.
        UsageError: Its manifest may not be deleted.
        StoreError: The disk refused.
        ConfigError: The project's file cannot be edited.
    """
    entry = workspace.catalog.entry(name)
    project = workspace.loaded.project_file
    is_listed = project is not None and entry.name in workspace.loaded.models
    if entry.origin not in _OWN and not (is_listed and entry.origin == "built-in"):
        raise UsageError(
            f"{quote(entry.name)} cannot be unpinned: it is in the {entry.origin} catalog "
            f"({sanitize(str(entry.path))})",
            hint="Leave out --unpin to remove its files from the cache.",
        )
    # A project comes with somebody else's repository, which must not choose a file of the user to delete.
    if entry.origin == "project" and project is not None and not is_in_project(entry.path.parent, project):
        raise UsageError(
            f"{quote(entry.name)} cannot be unpinned: its manifest {sanitize(str(entry.path))} is outside of "
            "the project",
            hint="Delete that file yourself if it is yours.",
        )
    own = [entry.path, *_companions(entry)] if entry.origin in _OWN else []
    if not dry_run:
        if project is not None and is_listed:
            remove_from_project(project, entry.name)
        for path in own:
            remove_pin(path)
    return Unpinned((*own, *([project] if project is not None and is_listed else [])))


def _companions(entry: CatalogEntry) -> list[Path]:
    """Return what lies beside a manifest and belongs to it; a later model of its name would use it."""
    beside = [entry.path.with_name(entry.name + suffix) for suffix in (SKELETON_SUFFIX, TORRENT_SUFFIX)]
    return [path for path in beside if path.is_file()]
