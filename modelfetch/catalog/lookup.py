"""Looking up manifests by name in all catalogs.

There are the built-in catalog, the user's, those of the project's file, and those of ``MODELFETCH_CATALOG``;
a later one overrides earlier ones. Opening a catalog lists directories and reads no manifest; a look-up reads
one file. A manifest is called ``<name>.toml``; files with other names are ignored.

A model of a project that replaces a built-in model, or one of the user's catalog, is reported in a notice,
since a project comes with a repository that another person wrote.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, Literal

from modelfetch.catalog import builtin
from modelfetch.catalog.builtin import BUILTIN
from modelfetch.errors import ConfigError, UnknownModelError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.manifest import Manifest
from modelfetch.model.parse import load_manifest
from modelfetch.model.paths import why_bad_name
from modelfetch.model.text import did_you_mean, quote, sanitize
from modelfetch.model.toml import parse_toml
from modelfetch.settings.config_files import Owners, ignored_notice, is_there, is_trusted

Origin = Literal["built-in", "user", "project", "environment"]

SKELETON_SUFFIX: Final = ".skeleton.car"
"""The skeleton of ``<name>.toml`` is ``<name>.skeleton.car`` beside it; see
:mod:`modelfetch.engine.skeletons`."""
TORRENT_SUFFIX: Final = ".torrent"
"""The torrent of ``<name>.toml`` is ``<name>.torrent`` beside it; see
:mod:`modelfetch.swarm.torrent_files`."""

_SETTING: Final[dict[Origin, str]] = {
    "built-in": "the built-in catalog",
    "user": "the user's catalog",
    "project": "catalog in modelfetch.toml",
    "environment": "MODELFETCH_CATALOG",
}


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model of a catalog, with the path of its manifest."""

    name: str
    origin: Origin
    path: Path
    """The manifest, which was not read yet."""
    replaces: Origin | None = None
    """The catalog, built-in or the user's, whose model of this name a project's model replaces."""


@dataclass(frozen=True, slots=True)
class Index:
    """Aliases and license notices of the built-in catalog, from ``_index.toml``."""

    aliases: dict[str, str]
    """Names of models by alias."""
    license_notices: dict[str, str]
    """Notices of one sentence by name of the model."""


def read_index(directory: Path) -> Index:
    """Read ``_index.toml`` of a directory of built-in manifests."""
    path = directory / "_index.toml"
    content = builtin.content(path) if directory == BUILTIN else None
    data = parse_toml((path.read_bytes() if content is None else content).decode())
    return Index(aliases=data["aliases"], license_notices=data["license_notices"])


_builtin_index = cache(lambda: read_index(BUILTIN))
_builtin_entries = cache(lambda: tuple(_listing(BUILTIN, "built-in")))
"""Listed once in a process, as the index is read once: a server opens the catalogs for each job."""
_builtin_read: dict[Path, tuple[_FileState, Manifest]] = {}
"""Built-in manifests that were read, for all catalogs of this process, with the state of their files."""


class Catalog:
    """Every known model, by name.

    Attributes:
        passed_over: Notices about catalogs of a project that are ignored because of their owner.
    """

    def __init__(
        self, entries: Sequence[CatalogEntry], consulted: Sequence[Path], passed_over: Sequence[str] = ()
    ) -> None:
        self._entries = _merged(entries)
        self._consulted = list(consulted)
        self.passed_over = tuple(passed_over)
        self._used: dict[str, CatalogEntry] = {}
        """Models that were looked up, by name."""
        self._read: dict[Path, tuple[_FileState, Manifest]] = {}
        """The same for all other manifests: a large one takes 0.1 s to read."""

    @classmethod
    def open(
        cls,
        *,
        user: Path | None,
        project: Sequence[Path],
        environment: Sequence[Path],
        owners: Owners = None,
    ) -> Catalog:
        """List the catalogs, including the built-in one.

        Args:
            user: The user's catalog directory; it may not exist.
            project: Directories and files of the project's file.
            environment: Directories and files of ``MODELFETCH_CATALOG``.
            owners: Users whose files of a project are trusted. The user chose the other catalogs, so their
                owners are not checked.

        Raises:
            ConfigError: A directory or file of project or environment is missing or cannot be listed.
        """
        entries = list(_builtin_entries())
        if user is not None:
            entries += _listing(user, "user")
        notices: list[str] = []
        for path in project:
            entries += _trusted(path, owners, notices)
        for path in environment:
            entries += _named(path, "environment")
        return cls(entries, [*filter(None, [user]), *project, *environment], notices)

    def reuse(self, earlier: Catalog) -> None:
        """Take over the manifests that an earlier listing has read, as far as their files did not change.

        For a server, which lists the catalogs again for each use. Both share what is read from now on.
        """
        self._read = earlier._read

    @property
    def consulted(self) -> tuple[Path, ...]:
        """Every file and directory whose presence, absence or content decided the results so far.

        They are the catalogs except the built-in one, then the manifests that were read.
        """
        return tuple(dict.fromkeys(self._consulted))

    @property
    def notices(self) -> tuple[str, ...]:
        """Messages for the user about the catalogs and the models looked up so far; one line each."""
        return (*self.passed_over, *map(_taken_over, self.taken_over))

    @property
    def taken_over(self) -> list[CatalogEntry]:
        """The models looked up so far that replace a built-in model or one of the user's catalog."""
        return [entry for entry in self._used.values() if entry.replaces is not None]

    def of_project(self) -> frozenset[str]:
        """Return the names of the models of the project's catalogs."""
        return frozenset(entry.name for entry in self._entries.values() if entry.origin == "project")

    def names(self) -> list[str]:
        """Return the names of all models, sorted, without aliases."""
        return sorted(self._entries)

    def aliases(self) -> dict[str, str]:
        """Return the aliases of built-in models, each with the name of the model."""
        return dict(_builtin_index().aliases)

    def entry(self, name: str) -> CatalogEntry:
        """Find a model by name or alias; a name takes precedence over an equal alias.

        Raises:
            UnknownModelError: No catalog has such a model.
        """
        found = self._entries.get(name) or self._entries.get(self.aliases().get(name, ""))
        if found is None:
            guess = did_you_mean(name, [*self._entries, *self.aliases()])
            raise UnknownModelError(
                f"no catalog has a model called {quote(name)}.{guess}",
                hint="`modelfetch list` shows every model known here; hf:ORG/REPO names one on Hugging Face.",
            )
        return found

    def get(self, name: str) -> Manifest:
        """Read the manifest of a model, given by name or alias.

        Raises:
            UnknownModelError: No catalog has such a model.
            ManifestError: The manifest is invalid.
        """
        entry = self.entry(name)
        is_built_in = entry.origin == "built-in"
        self._consulted.append(builtin.consulted(entry.path) if is_built_in else entry.path)
        self._used[entry.name] = entry
        manifest = self._load(entry.path, builtin.content(entry.path) if is_built_in else None)
        if not is_built_in:
            return manifest
        return replace(manifest, license_notice=_builtin_index().license_notices.get(entry.name, ""))

    def _load(self, path: Path, content: bytes | None) -> Manifest:
        if content is not None:
            return load_manifest(path, content)
        state = _file_state(path)
        read = _builtin_read if path.parent == BUILTIN else self._read
        known = read.get(path)
        if known is None or known[0] != state or state is None:
            read[path] = known = state, _with_companions(load_manifest(path), path)
        return known[1]


def _with_companions(manifest: Manifest, path: Path) -> Manifest:
    """Note where the skeleton of a model is looked for, if its files have CIDs, and its torrent."""
    if any(file.cid for file in manifest.files):
        manifest = replace(manifest, skeleton=str(path.with_name(manifest.name + SKELETON_SUFFIX)))
    if manifest.swarm is not None:
        manifest = replace(manifest, torrent=str(path.with_name(manifest.name + TORRENT_SUFFIX)))
    return manifest


def _merged(entries: Iterable[CatalogEntry]) -> dict[str, CatalogEntry]:
    """Merge catalogs; later entries override earlier ones. A project's entry notes what it replaces."""
    found: dict[str, CatalogEntry] = {}
    for entry in entries:
        before = found.get(entry.name)
        if entry.origin == "project":
            alias: Origin | None = "built-in" if entry.name in _builtin_index().aliases else None
            replaces = before.replaces or _of_others(before.origin) if before is not None else alias
            entry = replace(entry, replaces=replaces)  # noqa: PLW2901 - the same entry
        found[entry.name] = entry
    return found


def _of_others(origin: Origin) -> Origin | None:
    """Return the origin, or None if it is the project itself."""
    return None if origin == "project" else origin


def _taken_over(entry: CatalogEntry) -> str:
    whose = "built-in one" if entry.replaces == "built-in" else "one of your own catalog"
    return (
        f"{entry.name} is this project's model ({sanitize(str(entry.path))}), not the {whose} of that name."
    )


def _trusted(path: Path, owners: Owners, notices: list[str]) -> list[CatalogEntry]:
    """Return the manifests of a path of a project with trusted owners; add notices about the others.

    A directory must have a trusted owner too, since its owner decides which manifests are in it.
    """
    if os.path.lexists(path) and not is_trusted(path, owners):
        notices.append(ignored_notice(sanitize(str(path))))
        return []
    entries = list(_named(path, "project"))
    good = [entry for entry in entries if entry.path == path or is_trusted(entry.path, owners)]
    if strange := [entry.name for entry in entries if entry not in good]:
        more = f" (and {len(strange) - 1} more there)" if len(strange) > 1 else ""
        notices.append(ignored_notice(f"{sanitize(str(path))}: {strange[0]}.toml{more}"))
    return good


_FileState = tuple[int, int, int] | None


def _file_state(path: Path) -> _FileState:
    """Return size, time and inode, which change if the file is written or replaced; None on failure."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def _named(path: Path, origin: Origin) -> Iterable[CatalogEntry]:
    """Return the manifests of a path: one manifest, or a directory of manifests."""
    if path.suffix != ".toml":
        return _listing(path, origin)
    try:
        path.stat()
    except (OSError, ValueError) as error:
        raise _unusable(path, origin, error) from error
    if why_bad_name(path.stem):
        raise _unusable(path, origin, "the file name is not a model name")
    return [CatalogEntry(path.stem, origin, path)]


def _listing(directory: Path, origin: Origin) -> Iterator[CatalogEntry]:
    try:
        paths = list(builtin.paths() if origin == "built-in" else directory.iterdir())
    except (OSError, ValueError) as error:
        if origin == "user" and (isinstance(error, PermissionError) or not is_there(directory)):
            return
        raise _unusable(directory, origin, error) from error
    for path in sorted(paths, key=lambda each: each.name):  # comparing paths is slow
        if path.suffix == ".toml" and not why_bad_name(path.stem):
            yield CatalogEntry(path.stem, origin, path)


def _unusable(path: Path, origin: Origin, reason: Exception | str) -> ConfigError:
    text = getattr(reason, "strerror", None) or reason
    return ConfigError(
        f"{_SETTING[origin]}: {sanitize(str(path))}: {text}",
        hint="Name a directory of manifests, or the file of one, called <name>.toml.",
    )
