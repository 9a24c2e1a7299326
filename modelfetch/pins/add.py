"""Adds a pin to a catalog: the use case behind ``add``, and behind ``ensure`` of a reference.

::

    pinned already, in that catalog   nothing is written, and no request is made
    pinned already, in another one    the manifest is copied, and no request is made
    else                              the references are resolved, and the manifest is written

In a project the manifest goes to the project's catalog and its name to ``models``, because a clone of the
project must find both. ``ensure`` of a reference always writes into the user's catalog.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from modelfetch.errors import UnknownModelError, UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.paths import is_reference
from modelfetch.model.text import quote, sanitize, shell_word
from modelfetch.pins.catalogs import (
    NameTakenError,
    find_pin,
    is_same_pin,
    pins,
    pins_of_repo,
    project_catalog,
    user_catalog,
    write_pin,
)
from modelfetch.pins.matching import Wanted
from modelfetch.pins.outdated import record_pinned
from modelfetch.pins.parsing import parsed
from modelfetch.pins.project_file import add_to_project, check_inside, is_in_project

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.pins.pin import Choose, Pin, PinRequest
    from modelfetch.pins.session import PinSession
    from modelfetch.pins.variants import Variant
    from modelfetch.workspace import Workspace


_SHOWN: Final = 5
"""Most other pins in one hint."""


@dataclass(frozen=True, slots=True)
class Target:
    """The catalog that a pin goes to."""

    kind: Literal["user", "project", "path"]
    directory: Path
    project_file: Path | None = None
    """The project's file that gets the name, for a project."""
    entry: str = ""
    """What has to be added to the ``catalog`` of that file; empty if it names the directory already."""


@dataclass(frozen=True, slots=True)
class Added:
    """What came of a request."""

    manifest: Manifest
    path: Path
    """The file of the manifest."""
    pin: Pin | None
    """How it came about; None if it was pinned already."""
    is_written: bool
    """Whether the manifest was written; with ``--dry-run``, whether it would be."""
    is_listed: bool
    """Whether its name was added to the project's ``models``; with ``--dry-run``, whether it would be."""


class _PinnedVariantError(Exception):
    """The variant that a person chose is pinned already."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest.name)
        self.manifest = manifest


def target_of(workspace: Workspace, choice: str | None) -> Target:
    """Return the catalog that ``--to-catalog`` names; without it the project's, or else the user's.

    Args:
        workspace: Whose project and user are meant.
        choice: ``user``, ``project``, or the path of a directory.

    Raises:
        UsageError: There is no project, or the path is no directory.
    """
    if choice == "user":
        return Target("user", user_catalog(workspace))
    if choice in (None, "project"):
        if target := _project_target(workspace):
            return target
        if choice is None:
            return Target("user", user_catalog(workspace))
        raise UsageError(
            "there is no modelfetch.toml in this directory or above it",
            hint="Create one (an empty file will do), or leave out --to-catalog.",
        )
    return Target("path", _directory(choice or ""))


def add(
    session: PinSession,
    request: PinRequest,
    target: Target,
    *,
    choose: Choose | None = None,
    dry_run: bool = False,
) -> Added:
    """Pin references, unless they are pinned already, if only by another process meanwhile.

    Args:
        session: Makes the pin.
        request: What to pin.
        target: Where to write it.
        choose: Chooses a variant of a GGUF repository.
        dry_run: Whether nothing is written.

    Raises:
        ModelfetchError: As for :func:`~modelfetch.pins.pin.make_pin`, :func:`.write_pin` and
            :func:`.add_to_project`.
    """
    try:
        return _add(session, request, target, choose, dry_run=dry_run)
    except NameTakenError:
        # Several processes may start with the same new reference, such as jobs of one pipeline.
        workspace = session.workspace.relisted()
        if _known(workspace, request, target, (request.include, request.exclude)) is None:
            raise
        return _add(replace(session, workspace=workspace), request, target, choose, dry_run=dry_run)


def _add(
    session: PinSession, request: PinRequest, target: Target, choose: Choose | None, *, dry_run: bool
) -> Added:
    known = _known(session.workspace, request, target, (request.include, request.exclude))
    pin: Pin | None = None
    if known is None:
        try:
            pin = session.pin(request, choose and _choose_new(session.workspace, request, target, choose))
        except _PinnedVariantError as found:
            known = found.manifest
    manifest = known if pin is None else pin.manifest
    assert manifest is not None, "it was pinned, now or before"
    path, is_written = _write(
        session.workspace, manifest, target, is_known=known is not None, dry_run=dry_run
    )
    return Added(manifest, path, pin, is_written, _list(target, manifest.name, dry_run=dry_run))


def pinned_names(workspace: Workspace, words: Sequence[str]) -> list[str]:
    """Replace each reference by the name that it is pinned under; names stay as they are.

    Raises:
        UnknownModelError: A reference is not pinned.
        UsageError: A word is no reference, or it is pinned several times.
    """
    return [_pinned_name(workspace, word) if _is_reference(workspace, word) else word for word in words]


def all_pinned(workspace: Workspace, words: Sequence[str]) -> bool:
    """Whether every reference is pinned, so that no request is needed to replace it by a name.

    Raises:
        UsageError: A word is no reference, or it is pinned several times.
    """
    return all(
        find_pin(workspace, parsed(workspace, word)) for word in words if _is_reference(workspace, word)
    )


def ensure_pinned(
    session: PinSession, words: Sequence[str], *, choose: Choose | None = None
) -> tuple[list[str], list[Added]]:
    """Replace each reference by a name, and pin those that are new in the user's catalog.

    Returns:
        The names, and what was pinned.
    """
    from modelfetch.pins.pin import PinRequest

    names: list[str] = []
    added: list[Added] = []
    for word in words:
        if not _is_reference(session.workspace, word):
            names.append(word)
            continue
        reference = parsed(session.workspace, word)
        manifest = find_pin(session.workspace, reference)
        if manifest is None:
            target = Target("user", user_catalog(session.workspace))
            new = add(session, PinRequest((reference,)), target, choose=choose)
            added += [new] if new.is_written else []
            manifest = new.manifest
        names.append(manifest.name)
    return names, added


def pinned_line(added: Added, verb: str = "pinned") -> str:
    """One line on what was pinned, and where."""
    from modelfetch.model.units import format_size

    manifest = added.manifest
    ref = manifest.upstream.ref if manifest.upstream else manifest.name
    files = "1 file" if len(manifest.files) == 1 else f"{len(manifest.files)} files"
    size = format_size(manifest.size)
    return f"{verb} {ref} as {manifest.name} {manifest.version} ({files}, {size}) in {added.path}"


def _is_reference(workspace: Workspace, word: str) -> bool:
    """Whether a word is a reference; an alias such as ``onnx-community/whisper-base`` is a name."""
    return is_reference(word) and word not in workspace.catalog.aliases()


def _pinned_name(workspace: Workspace, word: str) -> str:
    reference = parsed(workspace, word)
    manifest = find_pin(workspace, reference)
    if manifest is None:
        hint = f"`modelfetch add {shell_word(word)}` pins it."
        if others := [f"{name} ({ref})" for name, ref in pins_of_repo(workspace, reference)]:
            hint = f"Pinned is {sanitize(', '.join(others[:_SHOWN]))}. {hint}"
        raise UnknownModelError(f"{quote(word)} is not pinned", hint=hint)
    return manifest.name


def _known(
    workspace: Workspace,
    request: PinRequest,
    target: Target,
    patterns: tuple[tuple[str, ...], tuple[str, ...]],
) -> Manifest | None:
    """Find the pin of the same request; another name asks for another pin.

    A pin of the project counts in the project alone. What it says about its upstream is a claim of the
    project's author, which must not get into a catalog of the user without being resolved.
    """
    wanted = Wanted(request.references[0], request.references[1:], patterns)
    of_project = frozenset[str]() if target.kind == "project" else workspace.catalog.of_project()
    for each in pins(workspace, wanted):
        is_there = workspace.catalog.entry(each.name).path.parent == target.directory
        if request.name in (None, each.name) and (is_there or each.name not in of_project):
            return each
    return None


def _choose_new(workspace: Workspace, request: PinRequest, target: Target, choose: Choose) -> Choose:
    def chosen(variants: Sequence[Variant]) -> Variant:
        variant = choose(variants)
        if known := _known(workspace, request, target, ((variant.pattern,), request.exclude)):
            raise _PinnedVariantError(known)
        return variant

    return chosen


def _write(
    workspace: Workspace, manifest: Manifest, target: Target, *, is_known: bool, dry_run: bool
) -> tuple[Path, bool]:
    """Write a manifest, unless that catalog has it already.

    Returns:
        The path of the manifest, and whether it was (or would be) written.
    """
    path = target.directory / f"{manifest.name}.toml"
    if is_known:
        entry = workspace.catalog.entry(manifest.name)
        if target.kind == "user" or os.path.abspath(entry.path) == os.path.abspath(path):  # noqa: PTH100
            return entry.path, False  # the user's catalog needs no copy of what another one has
    if not dry_run:
        try:
            path = write_pin(manifest, target.directory)
        except NameTakenError:
            # No catalog may have a directory of `--to-catalog`, so its pins are not known beforehand.
            if target.kind == "path" and is_same_pin(path, manifest):
                return path, False
            raise
        if not is_known:  # else no upstream was asked
            record_pinned(workspace, manifest)
    return path, True


def _list(target: Target, name: str, *, dry_run: bool) -> bool:
    """Add a name to the project's ``models``."""
    if target.project_file is None:
        return False
    if not dry_run:
        return add_to_project(target.project_file, name, target.entry)
    from modelfetch.settings.config_files import read_toml

    listed = (read_toml(target.project_file) or {}).get("models")
    return not (isinstance(listed, list) and name in listed)


def _project_target(workspace: Workspace) -> Target | None:
    project, directory = workspace.loaded.project_file, project_catalog(workspace)
    if project is None or directory is None:
        return None
    check_inside(project)
    # The project comes with somebody else's repository, which must not choose where else files are created.
    if not is_in_project(directory, project):
        raise UsageError(
            f"the catalog of this project, {sanitize(str(directory))}, is outside of it",
            hint="Choose one with --to-catalog: user, or the path of that directory.",
        )
    is_named = directory in workspace.loaded.catalog_project
    return Target("project", directory, project, "" if is_named else directory.name)


def _directory(choice: str) -> Path:
    """The absolute directory of ``--to-catalog PATH``."""
    from modelfetch.settings.locations import absolute, working_directory

    if not choice.strip():  # as a path it would be the working directory
        raise UsageError("--to-catalog is empty", hint="Give user, project, or a directory.")
    path = absolute(Path(choice), working_directory())
    if path.suffix == ".toml" or (
        path.exists() and not path.is_dir()
    ):  # as a catalog it would be one manifest
        raise UsageError(f"--to-catalog: {quote(choice)} is not a directory")
    return path
