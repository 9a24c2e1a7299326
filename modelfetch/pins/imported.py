"""Pins the models of a bundle in the user's catalog, without a request.

A bundle brings the manifest of each model, so nothing is resolved::

    a catalog pins the same files under that name   nothing is written
    the name stands for other files                 refused, before anything is imported
    else                                            the manifest goes into the user's catalog
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.errors import UnknownModelError, UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.paths import why_bad_name
from modelfetch.model.text import quote, sanitize
from modelfetch.pins.catalogs import NameTakenError, is_same_pin, user_catalog, write_pin

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model that is to be pinned."""

    manifest: Manifest
    """The one of the bundle, or that of the catalog if it pins the same files."""
    is_known: bool
    """Whether a catalog has it already."""


def planned(workspace: Workspace, manifests: Sequence[Manifest], name: str | None = None) -> list[Wanted]:
    """Decide what is to be pinned; writes nothing.

    Args:
        workspace: Whose catalogs are searched.
        manifests: The models of a bundle.
        name: Another name, if it is only one.

    Raises:
        UsageError: The name is malformed or stands for other files, or is given for several models.
        ManifestError: The manifest of a catalog that has the name is invalid.
    """
    if name is not None:
        if len(manifests) != 1:
            raise UsageError(
                f"--name is for one model, and the bundle has {len(manifests)}",
                hint="Leave it out, or make a bundle of one model.",
            )
        if clause := why_bad_name(name):
            raise UsageError(f"the name {quote(name)} {clause}", hint="Choose another name with --name.")
        manifests = [replace(manifests[0], name=name)]
    return [_planned(workspace, manifest, is_single=len(manifests) == 1) for manifest in manifests]


def pin(workspace: Workspace, wanted: Wanted) -> Path | None:
    """Write the manifest of a model into the user's catalog, unless a catalog has it.

    Returns:
        The file that was written, or None.

    Raises:
        ModelfetchError: As for :func:`~modelfetch.pins.catalogs.write_pin`.
    """
    if wanted.is_known:
        return None
    directory = user_catalog(workspace)
    try:
        return write_pin(wanted.manifest, directory)
    except NameTakenError:
        # Another import of the same bundle may have written it while the files were read.
        if is_same_pin(directory / f"{wanted.manifest.name}.toml", wanted.manifest):
            return None
        raise


def _planned(workspace: Workspace, manifest: Manifest, *, is_single: bool) -> Wanted:
    try:
        entry = workspace.catalog.entry(manifest.name)
    except UnknownModelError:
        return Wanted(manifest, is_known=False)
    known = workspace.catalog.get(manifest.name)
    if known.identity == manifest.identity:
        return Wanted(known, is_known=True)
    other = "Choose another name with --name" if is_single else "Make a bundle of each model, and use --name"
    raise UsageError(
        f"the name {quote(manifest.name)} stands for other files in the {entry.origin} catalog "
        f"({sanitize(str(entry.path))})",
        hint=f"{other}, or remove the other model: `modelfetch remove {entry.name} --unpin`.",
    )
