"""Finding a manifest by name: built-in, user's, project's and environment's catalogs, later ones winning.

Opening a catalog lists directories and reads no manifest; looking a model up reads that one file. A directory
counts by its files called ``<name>.toml``; what is not called like a model is passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final, Literal

from modelfetch.catalog import builtin
from modelfetch.catalog.builtin import BUILTIN
from modelfetch.errors import ConfigError, UnknownModelError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import Manifest
from modelfetch.model.parse import load_manifest
from modelfetch.model.paths import why_bad_name
from modelfetch.model.text import did_you_mean, quote, sanitise
from modelfetch.model.toml import parse_toml
from modelfetch.settings.config_files import Owners, is_there, is_trusted, passed_over

Origin = Literal["built-in", "user", "project", "environment"]

_SETTING: Final[dict[Origin, str]] = {
    "built-in": "the built-in catalog",
    "user": "the user's catalog",
    "project": "catalog in modelfetch.toml",
    "environment": "MODELFETCH_CATALOG",
}


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """Where the manifest of a model was found; it was not read yet."""

    name: str
    origin: Origin
    path: Path
    """The manifest's file."""
    replaces: Origin | None = None
    """Whose model of this name, built-in or the user's, a project put its own in place of."""


@dataclass(frozen=True, slots=True)
class Index:
    """What the built-in catalog says about its models beside their manifests."""

    aliases: dict[str, str]
    """Other name to name of a model."""
    license_notices: dict[str, str]
    """Name of a model to one sentence about its licence."""


def read_index(directory: Path) -> Index:
    """Read ``_index.toml`` of a directory of built-in manifests."""
    path = directory / "_index.toml"
    content = builtin.content(path) if directory == BUILTIN else None
    data = parse_toml((path.read_bytes() if content is None else content).decode())
    return Index(aliases=data["aliases"], license_notices=data["license_notices"])


_builtin_index = cache(lambda: read_index(BUILTIN))


class Catalog:
    """Every model known here, by name.

    Attributes:
        passed_over: Notices about what a project names and does not count.
    """

    def __init__(
        self, entries: Sequence[CatalogEntry], consulted: Sequence[Path], passed_over: Sequence[str] = ()
    ) -> None:
        self._entries = _winning(entries)
        self._consulted = list(consulted)
        self.passed_over = tuple(passed_over)
        self._used: dict[str, CatalogEntry] = {}
        """Models whose manifest was asked for."""
        self._read: dict[Path, tuple[_Look, Manifest]] = {}
        """What was read so far, and what the files looked like; a large one takes a tenth of a second."""

    @classmethod
    def open(
        cls,
        *,
        user: Path | None,
        project: Sequence[Path],
        environment: Sequence[Path],
        owners: Owners = None,
    ) -> Catalog:
        """List the catalogs; built-in models are always there.

        Args:
            user: The user's catalog directory, which may be absent.
            project: Directories and files a project names.
            environment: Directories and files of ``MODELFETCH_CATALOG``.
            owners: Whose files of a project count. Other catalogs were named by the user in person.

        Raises:
            ConfigError: A directory or file that was named is missing or cannot be listed.
        """
        entries = list(_listing(BUILTIN, "built-in"))
        if user is not None:
            entries += _listing(user, "user")
        notices: list[str] = []
        for path in project:
            entries += _trusted(path, owners, notices)
        for path in environment:
            entries += _named(path, "environment")
        return cls(entries, [*filter(None, [user]), *project, *environment], notices)

    @property
    def consulted(self) -> tuple[Path, ...]:
        """Every file and directory whose presence, absence or content decided what was found so far.

        Catalogs beside the built-in one, in the order of the call, then the manifests read.
        """
        return tuple(dict.fromkeys(self._consulted))

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should know about the catalogs and the models asked for so far; a line each."""
        return (*self.passed_over, *map(_taken_over, self.taken_over))

    @property
    def taken_over(self) -> list[CatalogEntry]:
        """The models asked for so far whose name, built-in or the user's, is a project's here."""
        return [entry for entry in self._used.values() if entry.replaces is not None]

    def of_project(self) -> frozenset[str]:
        """Give the names of the models that a project's catalog describes."""
        return frozenset(entry.name for entry in self._entries.values() if entry.origin == "project")

    def names(self) -> list[str]:
        """Give the names of all models, sorted; aliases are not among them."""
        return sorted(self._entries)

    def aliases(self) -> dict[str, str]:
        """Give other names of built-in models, each with the name it stands for."""
        return dict(_builtin_index().aliases)

    def entry(self, name: str) -> CatalogEntry:
        """Find a model by its name or by another name of it; a name that is a model is never an alias.

        Raises:
            UnknownModelError: No catalog has such a model.
        """
        found = self._entries.get(name) or self._entries.get(self.aliases().get(name, ""))
        if found is None:
            guess = did_you_mean(name, [*self._entries, *self.aliases()])
            raise UnknownModelError(
                f"no catalog has a model called {quote(name)}.{guess}",
                hint="`modelfetch list` shows every model known here.",
            )
        return found

    def get(self, name: str) -> Manifest:
        """Read the manifest of a model, given by its name or another name of it.

        Raises:
            UnknownModelError: No catalog has such a model.
            ManifestError: Its manifest is wrong.
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
        look = _look(path)
        known = self._read.get(path)
        if known is None or known[0] != look or look is None:
            self._read[path] = known = look, load_manifest(path)
        return known[1]


def _winning(entries: Iterable[CatalogEntry]) -> dict[str, CatalogEntry]:
    """Lay catalogs over each other; later ones win. A name that a project takes over remembers from whom."""
    found: dict[str, CatalogEntry] = {}
    for entry in entries:
        before = found.get(entry.name)
        if entry.origin == "project":
            alias: Origin | None = "built-in" if entry.name in _builtin_index().aliases else None
            replaces = before.replaces or _of_others(before.origin) if before is not None else alias
            entry = replace(entry, replaces=replaces)  # noqa: PLW2901 - the same entry, with what it does
        found[entry.name] = entry
    return found


def _of_others(origin: Origin) -> Origin | None:
    """The origin, if it is not the project itself."""
    return None if origin == "project" else origin


def _taken_over(entry: CatalogEntry) -> str:
    whose = "built-in one" if entry.replaces == "built-in" else "one of your own catalog"
    return (
        f"{entry.name} is this project's model ({sanitise(str(entry.path))}), not the {whose} of that name."
    )


def _trusted(path: Path, owners: Owners, notices: list[str]) -> list[CatalogEntry]:
    """Give the manifests of a path that a project names, but what belongs to other users; that is told.

    Of a directory its owner decides, too: he says which manifests are in it.
    """
    if os.path.lexists(path) and not is_trusted(path, owners):
        notices.append(passed_over(sanitise(str(path))))
        return []
    entries = list(_named(path, "project"))
    good = [entry for entry in entries if entry.path == path or is_trusted(entry.path, owners)]
    if strange := [entry.name for entry in entries if entry not in good]:
        more = f" (and {len(strange) - 1} more there)" if len(strange) > 1 else ""
        notices.append(passed_over(f"{sanitise(str(path))}: {strange[0]}.toml{more}"))
    return good


_Look = tuple[int, int, int] | None


def _look(path: Path) -> _Look:
    """What would differ if the file had been written since; None where it cannot be looked at."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def _named(path: Path, origin: Origin) -> Iterable[CatalogEntry]:
    """Give the manifests of a path that somebody wrote down: the file of one, or a directory."""
    if path.suffix != ".toml":
        return _listing(path, origin)
    try:
        path.stat()
    except (OSError, ValueError) as error:
        raise _unusable(path, origin, error) from error
    if why_bad_name(path.stem):
        raise _unusable(path, origin, "not called like a model")
    return [CatalogEntry(path.stem, origin, path)]


def _listing(directory: Path, origin: Origin) -> Iterator[CatalogEntry]:
    try:
        paths = sorted(builtin.paths() if origin == "built-in" else directory.iterdir())
    except (OSError, ValueError) as error:
        if origin == "user" and (isinstance(error, PermissionError) or not is_there(directory)):
            return
        raise _unusable(directory, origin, error) from error
    for path in paths:
        if path.suffix == ".toml" and not why_bad_name(path.stem):
            yield CatalogEntry(path.stem, origin, path)


def _unusable(path: Path, origin: Origin, reason: Exception | str) -> ConfigError:
    text = getattr(reason, "strerror", None) or reason
    return ConfigError(
        f"{_SETTING[origin]}: {sanitise(str(path))}: {text}",
        hint="Name a directory of manifests, or the file of one, called <name>.toml.",
    )
