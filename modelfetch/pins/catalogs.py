"""Where pins are kept: finding the pin of a reference, and writing and deleting manifests.

A pin is found by its ``[upstream].ref``, in the catalogs of the user, the project and ``MODELFETCH_CATALOG``.
Only the manifests whose text contains the reference are parsed, so that a large catalog costs little.
Writing a manifest creates its file in one step, and never replaces another one, except for ``upgrade``::

    write_pin(manifest, user_catalog(workspace))   # ~/.config/modelfetch/catalog/NAME.toml
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import ManifestError, StoreError, UnknownModelError, UsageError
from modelfetch.lazy_dataclass import replace
from modelfetch.model.parse import BYTES_LIMIT, load_manifest
from modelfetch.model.reference import RepoReference
from modelfetch.model.regular_file import read_regular
from modelfetch.model.text import quote, sanitize, shell_quoted
from modelfetch.pins.matching import Wanted, is_pin_of, is_source_of
from modelfetch.pins.naming import model_name
from modelfetch.pins.parsing import parsed
from modelfetch.pins.project_file import add_to_project, remove_from_project

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.model.reference import Reference
    from modelfetch.pins.pin import PinRequest
    from modelfetch.workspace import Workspace

__all__ = [
    "NameTakenError",
    "add_to_project",
    "check_name",
    "find_pin",
    "is_same_pin",
    "pinned_as",
    "pins",
    "pins_of_repo",
    "project_catalog",
    "remove_from_project",
    "remove_pin",
    "user_catalog",
    "write_pin",
]

_LAST_FIRST: Final = ("environment", "project", "user")
"""Catalogs that pins are in, the one that wins by name first."""


class NameTakenError(UsageError):
    """A catalog has a model of this name already."""


PROJECT_DIRECTORY: Final = "models"
"""Directory of a project's manifests, if its file names none."""


def user_catalog(workspace: Workspace) -> Path:
    """Return the directory of the user's catalog; it may not exist."""
    return workspace.loaded.catalog_user


def project_catalog(workspace: Workspace) -> Path | None:
    """Return the directory of a project's manifests: the first one in its ``catalog``, else ``models``.

    A directory outside of the project does not count, so that a project cannot choose where files are
    created.

    Returns:
        The directory, which may not exist; None outside of a project.
    """
    project = workspace.loaded.project_file
    if project is None:
        return None
    home = project.parent.resolve()
    named = (path for path in workspace.loaded.catalog_project if path.suffix != ".toml")
    inside = (path for path in named if path.resolve().is_relative_to(home))
    return next(inside, project.parent / PROJECT_DIRECTORY)


def pins(workspace: Workspace, wanted: Wanted) -> Iterator[Manifest]:
    """Yield the pins of a reference, by name, or else those that name its repository as a further source.

    Invalid manifests are passed over: their use reports them.
    """
    others: list[Manifest] = []
    is_found = False
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
                is_found = True
                yield manifest
            elif is_source_of(manifest, wanted):
                others.append(manifest)
    if not is_found:
        yield from others


def find_pin(workspace: Workspace, reference: Reference) -> Manifest | None:
    """Find the pin of a reference: of the last catalog that has one, as for names.

    A pin of all its files takes precedence over one of some. A notice says so if a project's catalog has it,
    because a project comes from somebody else, who may pin other bytes than the hub has.

    Raises:
        UsageError: One catalog has several, and each has some of the files.
    """
    by_origin: dict[str, list[Manifest]] = {}
    for manifest in pins(workspace, Wanted(reference)):
        by_origin.setdefault(workspace.catalog.entry(manifest.name).origin, []).append(manifest)
    origin = next((origin for origin in _LAST_FIRST if origin in by_origin), None)
    if origin is None:
        return None
    found = _whole(by_origin[origin]) or by_origin[origin]
    if len(found) > 1:
        names = ", ".join(manifest.name for manifest in found)
        raise UsageError(
            f"{reference.text} is pinned several times: {names}", hint="Give one of these names instead."
        )
    _notice(workspace, reference, found[0], is_of_project=origin == "project")
    return found[0]


def _notice(workspace: Workspace, reference: Reference, pin: Manifest, *, is_of_project: bool) -> None:
    """Say if a reference stands for something else than all files of its hub."""
    if is_of_project:
        path = sanitize(str(workspace.catalog.entry(pin.name).path))
        workspace.notices.add(f"{reference.text} is {pin.name}, as this project pins it ({path}).")
    if pin.upstream and (pin.upstream.include or pin.upstream.exclude) and not getattr(reference, "tail", ""):
        given = [f"--include {shell_quoted(pattern)}" for pattern in pin.upstream.include]
        given += [f"--exclude {shell_quoted(pattern)}" for pattern in pin.upstream.exclude]
        workspace.notices.add(f"{reference.text} is {pin.name}, pinned with {' '.join(given)}.")


def _whole(manifests: Sequence[Manifest]) -> list[Manifest]:
    """Return the pins of all files of a reference."""
    origins = [(manifest, manifest.upstream) for manifest in manifests]
    return [manifest for manifest, origin in origins if origin and not (origin.include or origin.exclude)]


def pinned_as(workspace: Workspace, reference_text: str) -> Manifest | None:
    """Find the pin of a reference, given as text; see :func:`find_pin`.

    Raises:
        UsageError: The text is no reference, or it is pinned several times.
    """
    return find_pin(workspace, parsed(workspace, reference_text))


def check_name(workspace: Workspace, name: str, request: PinRequest) -> None:
    """Refuse a name that a catalog has already.

    Args:
        workspace: Whose catalogs are searched.
        name: The name that a pin would get; an alias of a built-in model counts as taken, too.
        request: What is pinned, for the proposal of another name.

    Raises:
        NameTakenError: The name is taken; the hint proposes another one.
    """
    try:
        entry = workspace.catalog.entry(name)
    except UnknownModelError:
        return
    reference = request.references[0]
    tail = getattr(reference, "tail", "")
    revision = "" if tail else _other_revision(workspace, entry.path, reference)
    free = _free_name(workspace, name, reference, revision or tail.rpartition("/")[2].partition(".")[0])
    hint = f"Choose another one: `modelfetch add {_words(request)} --name {free}`."
    if revision and entry.origin in ("user", "project"):
        hint += (
            f" To move that pin instead: `modelfetch upgrade {entry.name} --revision {sanitize(revision)}`."
        )
    raise NameTakenError(
        f"the name {quote(name)} is taken by {entry.name} of the {entry.origin} catalog "
        f"({sanitize(str(entry.path))})",
        hint=hint,
    )


def page_text(reference: Reference) -> str:
    """The text of a reference, with the folder or file of a page, which its canonical form leaves out."""
    tail, revision = getattr(reference, "tail", ""), getattr(reference, "revision", None)
    if not (isinstance(reference, RepoReference) and tail and revision):
        return reference.text
    where = f"{'' if reference.type == 'model' else f'{reference.type}s/'}{reference.repo}"
    revision = revision.replace("/", "%2F")
    if reference.hub == "hf":
        return f"hf://{where}@{revision}/{tail}"
    return f"https://modelscope.cn/{reference.type}s/{reference.repo}/file/view/{revision}/{tail}"


def _words(request: PinRequest) -> str:
    """The arguments of ``add`` that make a request, without the name."""
    patterns = [("--include", each) for each in request.include] + [
        ("--exclude", each) for each in request.exclude
    ]
    texts = [shlex.quote(page_text(each)) for each in request.references]
    return sanitize(" ".join([*texts, *(f"{option} {shlex.quote(glob)}" for option, glob in patterns)]))


def _other_revision(workspace: Workspace, path: Path, reference: Reference) -> str:
    """The revision of a reference, if the manifest at the path pins its repository; else empty."""
    revision = getattr(reference, "revision", None)
    return str(revision) if revision and _ref_of_repo(workspace, path, reference) else ""


def pins_of_repo(workspace: Workspace, reference: Reference) -> list[tuple[str, str]]:
    """Return names and references of all pins of the repository of a reference, at whatever revision."""
    entries = [workspace.catalog.entry(name) for name in workspace.catalog.names()]
    return [
        (entry.name, ref)
        for entry in entries
        if entry.origin != "built-in" and (ref := _ref_of_repo(workspace, entry.path, reference))
    ]


def _ref_of_repo(workspace: Workspace, path: Path, reference: Reference) -> str:
    """The reference of the manifest at a path, if it names the same repository; else empty."""
    if not isinstance(reference, RepoReference):
        return ""
    with suppress(OSError, ValueError, ManifestError, UsageError):
        content = read_regular(path, BYTES_LIMIT + 1)
        upstream = load_manifest(path, content).upstream if reference.repo.encode() in content else None
        if upstream is not None:
            pinned = parsed(workspace, upstream.ref)
            if isinstance(pinned, RepoReference) and replace(pinned, revision=None) == replace(
                reference, revision=None, tail=""
            ):
                return upstream.ref
    return ""


def _free_name(workspace: Workspace, name: str, reference: Reference, suffix: str) -> str:
    """Propose the name with a suffix or the owner in front, or else with a number behind it."""
    taken = {*workspace.catalog.names(), *workspace.catalog.aliases()}
    owner = (getattr(reference, "repo", "") or getattr(reference, "repository", "")).rpartition("/")[0]
    names = (f"{name[:120]}-{number}" for number in range(2, len(taken) + 3))
    proposals = [model_name(f"{name[:80]}-{suffix[:40]}")] if suffix else []
    proposals += [model_name(f"{owner}-{name}")] if owner else []
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
        NameTakenError: There is a manifest of that name.
        UsageError: It would be too large.
        StoreError: The disk refused.
    """
    from modelfetch.model.write import manifest_toml
    from modelfetch.settings.replace_file import PUBLIC, create_file, replace_file

    path = directory / f"{manifest.name}.toml"
    data = manifest_toml(manifest).encode()
    if len(data) > BYTES_LIMIT:
        raise UsageError(
            f"the manifest of {manifest.name} would have {len(data):,} bytes; {BYTES_LIMIT:,} are allowed",
            hint="Pin fewer files, with --include or --exclude.",
        )
    load_manifest(path, data)
    try:
        if replace:
            replace_file(path, data, mode=PUBLIC)
        else:
            create_file(path, data)
    except FileExistsError as error:
        raise NameTakenError(
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
    """Delete the manifest of a pin, or a file that belongs to it.

    Raises:
        StoreError: The disk refused.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot delete {sanitize(str(path))}: {error.strerror}") from error
