"""Loading: every place settings come from, laid over each other, each value with its origin.

Precedence, weakest first: default, user's file, project's file, environment, flag.

Settings that nothing reads yet: whoever sets one is told, and not left to wonder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from modelfetch.errors import ConfigError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitise
from modelfetch.settings import hf_environment, layers
from modelfetch.settings.config_files import Owners, Search, find_project, is_there, read_toml, trusted_owners
from modelfetch.settings.layers import Layer
from modelfetch.settings.locations import (
    NOWHERE,
    absolute,
    cache_directory,
    expand,
    home_directory,
    user_config_path,
)
from modelfetch.settings.project import confine
from modelfetch.settings.table import BY_NAME, IDLE_KINDS
from modelfetch.settings.types import Value
from modelfetch.settings.values import Secret, Settings, build, shown


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything settings and environment say for one run. Paths are absolute."""

    settings: Settings
    origins: Mapping[str, str]
    """Where each value comes from, by ``section.key``; also ``cache_dir``, ``offline`` and ``hf_token``."""
    cache_dir: Path
    """Root of the cache."""
    offline: bool
    """Whether the network must not be used."""
    user_config: Path
    """The user's file, whether it exists or not."""
    project_file: Path | None
    """The nearest ``modelfetch.toml``."""
    catalog_user: Path
    """The user's own catalog, a directory beside the user's file, whether it exists or not."""
    catalog_project: tuple[Path, ...]
    """Catalogs the project names: directories or files."""
    catalog_environment: tuple[Path, ...]
    """Catalogs ``MODELFETCH_CATALOG`` names: directories or files."""
    models: tuple[str, ...]
    """Models the project wants."""
    hf_token: Secret | None
    """Token for ``settings.huggingface.endpoint``, and for no other origin."""
    hf_cache: Path
    """Cache directory of the Hugging Face libraries, whether it exists or not."""
    consulted: tuple[Path, ...]
    """Every configuration file that was read, or looked for and not there."""
    passed_over: tuple[str, ...]
    """Those of the notices that tell of a project's file which does not count."""
    notices: tuple[str, ...]
    """What a person should know about how the settings were found; a line each, free of controls."""


def load(
    *,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    cwd: Path | None,
    config_file: Path | None = None,
) -> Loaded:
    """Read the configuration for one run.

    Args:
        flags: Settings given for this run, by name (``network.files``, ``cache_dir``, ``offline``); None is
            not given. Text is read as in the environment.
        environ: The environment, usually ``os.environ``.
        cwd: Directory in which relative paths start and the search for a project begins; None where there is
            none any more.
        config_file: The user's file, instead of the one ``MODELFETCH_CONFIG`` or the system names.

    Raises:
        ConfigError: Any file, variable or flag is wrong; all faults are told at once.
    """
    cwd, home = cwd.absolute() if cwd is not None else None, home_directory(environ)
    files = _read_files(environ, cwd, config_file)
    # Compared with defaults and the user's file only: environment and flags override the project anyway.
    refused = confine(files.project, layers.from_defaults().values | files.user.values)
    above = [layers.from_environment(environ), layers.from_flags(flags)]
    merged = layers.merge([layers.from_defaults(), files.user, files.project, *above])
    token, withheld = _guarded(hf_environment.token(environ, home), merged, files)
    merged.origins["hf_token"] = token.origin
    return Loaded(
        settings=build(merged.values),
        origins=merged.origins,
        cache_dir=cache_directory(str(merged.values["cache_dir"]), cwd, home),
        offline=bool(merged.values["offline"]),
        user_config=files.user_config,
        project_file=files.search.found,
        catalog_user=files.user_config.parent / "catalog",
        catalog_project=_beside(files.search.found, merged.lists.get("catalog", ())),
        catalog_environment=_listed(environ.get("MODELFETCH_CATALOG", ""), cwd, home),
        models=merged.lists.get("models", ()),
        hf_token=token.secret,
        hf_cache=(cwd or NOWHERE) / hf_environment.cache(environ, home),
        consulted=(files.user_config, *files.search.visited),
        passed_over=files.search.notices,
        notices=(*files.notices, *refused, *filter(None, (token.notice, withheld)), *idle_notices(merged)),
    )


@dataclass(frozen=True, slots=True)
class _Files:
    """The user's file and the project's file, and what they say."""

    user_config: Path
    search: Search
    user: Layer
    project: Layer
    notices: tuple[str, ...]


def _read_files(environ: Mapping[str, str], cwd: Path | None, config_file: Path | None) -> _Files:
    is_named = config_file is not None or bool(environ.get("MODELFETCH_CONFIG", "").strip())
    owners = trusted_owners(environ)
    user_config = _user_config(environ, cwd, config_file, is_named=is_named)
    search = find_project(cwd, owners)
    return _Files(
        user_config=user_config,
        search=search,
        user=_user_layer(user_config),
        project=_project_layer(search.found, owners),
        notices=(*_absence(user_config, is_named=is_named), *search.notices),
    )


def _user_config(
    environ: Mapping[str, str], cwd: Path | None, config_file: Path | None, *, is_named: bool
) -> Path:
    try:
        return user_config_path(environ, cwd, config_file)
    except ConfigError:
        if is_named:
            raise
        return NOWHERE / "config.toml"  # without a home there is none


def _user_layer(path: Path) -> Layer:
    return _file_layer(path, f"user config {sanitise(str(path))}")


def _project_layer(path: Path | None, owners: Owners) -> Layer:
    if path is None:
        return Layer()
    return _file_layer(path, f"project file {sanitise(str(path))}", owners, lists=layers.PROJECT_LISTS)


def _file_layer(path: Path, origin: str, owners: Owners = None, *, lists: tuple[str, ...] = ()) -> Layer:
    try:
        document = read_toml(path, owners)
    except ValueError as error:
        return Layer(faults=[f"{origin}: {sanitise(str(error))}"])
    return layers.from_tables(document or {}, origin, lists=lists)


def _guarded(token: hf_environment.Token, merged: Layer, files: _Files) -> tuple[hf_environment.Token, str]:
    """Withhold the token from an endpoint that only a project's file names.

    A project comes with a clone or an archive from anyone; it must not be able to send the user's token to a
    server of its choice. The notice says so and no more: how to have it sent would teach people to do what
    the project's author wants. Whoever means it has the endpoint in a place of their own.
    """
    name = "huggingface.endpoint"
    confirmed = merged.values[name] in (BY_NAME[name].default, files.user.values.get(name))
    if token.secret is None or confirmed or merged.origins[name] != files.project.origins.get(name):
        return token, ""
    where = shown(merged.values[name])
    notice = (
        f"{merged.origins[name]} sets {name} to {where}; your token ({token.origin}) is not sent there, so "
        "files that need one are refused."
    )
    return hf_environment.Token(None, "withheld"), notice


def _beside(project: Path | None, entries: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(project.parent / entry for entry in entries) if project else ()


def _listed(text: str, cwd: Path | None, home: Path) -> tuple[Path, ...]:
    return tuple(absolute(expand(entry, home), cwd) for entry in text.split(os.pathsep) if entry.strip())


def _absence(path: Path, *, is_named: bool) -> Iterator[str]:
    if is_named and not is_there(path):
        where = sanitise(str(path))
        yield f"The configuration file {where} does not exist, or cannot be reached; it counts as empty."


NO_EFFECT: Final = "no effect yet"


def idle_notices(merged: Layer) -> Iterator[str]:
    """One line about all that was set in vain, each with its place."""
    told = [
        f"{part} ({merged.origins[name]})"
        for name, value in merged.values.items()
        if merged.origins[name] != "default" and (part := idle_part(name, value))
    ]
    if told:
        yield f"{NO_EFFECT}: {', '.join(told)}"


def idle_part(name: str, value: Value) -> str:
    """What of a setting has no effect yet: its name, or the kinds in it; empty if all has."""
    if name == "sources.order" and isinstance(value, tuple):
        kinds = [kind for kind in IDLE_KINDS if kind in value]
        return f"{', '.join(kinds)} in {name}" if kinds else ""
    return name if name in BY_NAME and BY_NAME[name].is_idle else ""
