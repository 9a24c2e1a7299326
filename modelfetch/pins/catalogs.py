"""Where pins are kept: finding the pin of a reference, and writing and deleting manifests.

A pin is found by its ``[upstream].ref``, in the catalogs of the user, the project and ``MODELFETCH_CATALOG``.
Only the manifests whose text contains the reference are parsed, so that a large catalog costs little.
Writing a manifest creates its file in one step, and never replaces another one, except for ``upgrade``::

    write_pin(manifest, user_catalog(workspace))   # ~/.config/modelfetch/catalog/NAME.toml
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import ManifestError, StoreError, UnknownModelError, UsageError
from modelfetch.model.parse import BYTES_LIMIT, load_manifest
from modelfetch.model.regular_file import read_regular
from modelfetch.model.text import quote, sanitize
from modelfetch.pins.matching import Wanted, is_pin_of
from modelfetch.pins.naming import model_name
from modelfetch.pins.parsing import parsed
from modelfetch.pins.project_file import add_to_project, remove_from_project

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.model.reference import Reference
    from modelfetch.workspace import Workspace

__all__ = [
    "add_to_project",
    "check_name",
    "find_pin",
    "is_same_pin",
    "pinned_as",
    "pins",
    "project_catalog",
    "remove_from_project",
    "remove_pin",
    "user_catalog",
    "write_pin",
]

PROJECT_DIRECTORY: Final = "models"
"""Directory of a project's manifests, if its file names none."""


def user_catalog(workspace: Workspace) -> Path:
    """Return the directory of the user's catalog; it may not exist."""
    return workspace.loaded.catalog_user


def project_catalog(workspace: Workspace) -> Path | None:
    """Return the directory of a project's manifests: the first one in its ``catalog``, else ``models``.

    Returns:
        The directory, which may not exist; None outside of a project.
    """
    project = workspace.loaded.project_file
    if project is None:
        return None
    directories = (path for path in workspace.loaded.catalog_project if path.suffix != ".toml")
    return next(directories, project.parent / PROJECT_DIRECTORY)


def pins(workspace: Workspace, wanted: Wanted) -> Iterator[Manifest]:
    """Yield the pins of a reference, by name. Invalid manifests are passed over: their use reports them."""
    for name in workspace.catalog.names():
        entry = workspace.catalog.entry(name)
        if entry.origin == "built-in":
            continue
        with suppress(OSError, ValueError, ManifestError):
            content = read_regular(entry.path, BYTES_LIMIT + 1)
            if wanted.needle not in content:
                continue
            manifest = load_manifest(entry.path, content)
            if is_pin_of(manifest, wanted):
                yield manifest


def find_pin(workspace: Workspace, reference: Reference) -> Manifest | None:
    """Find the pin of a reference; a pin of all its files takes precedence over one of some.

    Raises:
        UsageError: There are several, and each has some of the files.
    """
    found = list(pins(workspace, Wanted(reference)))
    whole = [
        manifest
        for manifest in found
        if manifest.upstream and not (manifest.upstream.include or manifest.upstream.exclude)
    ]
    chosen = whole or found
    if len(chosen) > 1:
        names = ", ".join(manifest.name for manifest in chosen)
        raise UsageError(
            f"{reference.text} is pinned several times: {names}", hint="Give one of these names instead."
        )
    return chosen[0] if chosen else None


def pinned_as(workspace: Workspace, reference_text: str) -> Manifest | None:
    """Find the pin of a reference, given as text; see :func:`find_pin`.

    Raises:
        UsageError: The text is no reference, or it is pinned several times.
    """
    return find_pin(workspace, parsed(workspace, reference_text))


def check_name(workspace: Workspace, name: str, reference: Reference) -> None:
    """Refuse a name that a catalog has already.

    Args:
        workspace: Whose catalogs are searched.
        name: The name that a pin would get; an alias of a built-in model counts as taken, too.
        reference: What is pinned, for the proposal of another name.

    Raises:
        UsageError: The name is taken; the hint proposes another one.
    """
    try:
        entry = workspace.catalog.entry(name)
    except UnknownModelError:
        return
    free = _free_name(workspace, name, reference)
    raise UsageError(
        f"the name {quote(name)} is taken by {entry.name} of the {entry.origin} catalog "
        f"({sanitize(str(entry.path))})",
        hint=f"Choose another one: `modelfetch add {sanitize(reference.text)} --name {free}`.",
    )


def _free_name(workspace: Workspace, name: str, reference: Reference) -> str:
    """Propose the name with its owner in front, or else with a number behind it."""
    taken = {*workspace.catalog.names(), *workspace.catalog.aliases()}
    owner = getattr(reference, "repo", "").rpartition("/")[0]
    names = (f"{name[:120]}-{number}" for number in range(2, len(taken) + 3))
    proposals = [model_name(f"{owner}-{name}")] if owner else []
    return next(free for free in (*proposals, *names) if free not in taken)


def write_pin(manifest: Manifest, directory: Path, *, replace: bool = False) -> Path:
    """Write a manifest into a catalog, in one step.

    Args:
        manifest: The pin.
        directory: A catalog's directory; it is created if it does not exist.
        replace: Whether a manifest of that name is replaced, as ``upgrade`` does.

    Returns:
        The file.

    Raises:
        ManifestError: The manifest is not valid, so that reading it would fail; nothing was written.
        UsageError: There is a manifest of that name.
        StoreError: The disk refused.
    """
    from modelfetch.model.write import manifest_toml
    from modelfetch.settings.replace_file import PUBLIC, create_file, replace_file

    path = directory / f"{manifest.name}.toml"
    data = manifest_toml(manifest).encode()
    load_manifest(path, data)
    try:
        if replace:
            replace_file(path, data, mode=PUBLIC)
        else:
            create_file(path, data)
    except FileExistsError as error:
        raise UsageError(
            f"{sanitize(str(path))} exists already", hint="Choose another name with --name."
        ) from error
    except OSError as error:
        raise StoreError(
            f"cannot write {sanitize(str(path))}: {error.strerror}",
            hint="Correct its permissions, or choose another place with --to-catalog.",
        ) from error
    return path


def is_same_pin(path: Path, manifest: Manifest) -> bool:
    """Whether a file pins the same files of the same reference."""
    try:
        found = load_manifest(path)
    except ManifestError:
        return False
    refs = [each.upstream.ref if each.upstream else "" for each in (found, manifest)]
    return found.identity == manifest.identity and refs[0] == refs[1]


def remove_pin(path: Path) -> None:
    """Delete the manifest of a pin.

    Raises:
        StoreError: The disk refused.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot delete {sanitize(str(path))}: {error.strerror}") from error
