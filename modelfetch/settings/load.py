"""Loading the settings: merge all places, record the origin of each value, and collect notices.

Precedence, lowest first: default, user's file, project's file, environment, flag. A value replaces one of
lower precedence as a whole; lists are not joined. Values that a project's file may not set
(:mod:`modelfetch.settings.project_limits`) and the token for an endpoint that only a project names are
withheld. A setting that has no effect yet is reported in a notice.

For example, with ``files = 8`` under ``[network]`` in the user's file and ``MODELFETCH_NETWORK_FILES=2``,
``settings.network.files`` is 2 and ``origins["network.files"]`` is ``environment MODELFETCH_NETWORK_FILES``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from modelfetch.errors import ConfigError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.text import sanitize
from modelfetch.settings import hf_environment, layers, ollama_environment
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
from modelfetch.settings.project_limits import confine
from modelfetch.settings.table import BY_NAME
from modelfetch.settings.values import Secret, Settings, build, shown


@dataclass(frozen=True, slots=True)
class Loaded:
    """The configuration of one run. Paths are absolute."""

    settings: Settings
    origins: Mapping[str, str]
    """Where each value comes from, by ``section.key``; also ``cache_dir``, ``offline``, ``hf_token`` and
    ``ms_token``."""
    cache_dir: Path
    """Root directory of the cache."""
    offline: bool
    """Whether the network must not be used."""
    user_config: Path
    """The user's file; it may not exist."""
    project_file: Path | None
    """The nearest ``modelfetch.toml`` with a trusted owner, or None."""
    catalog_user: Path
    """The user's catalog: the directory ``catalog`` beside the user's file; it may not exist."""
    catalog_project: tuple[Path, ...]
    """Catalogs of the project's file: directories or files."""
    catalog_environment: tuple[Path, ...]
    """Catalogs of ``MODELFETCH_CATALOG``: directories or files."""
    models: tuple[str, ...]
    """Models of the project's file, fetched by ``ensure`` without a name."""
    hf_token: Secret | None
    """Token for ``settings.huggingface.endpoint``, and for no other origin."""
    ms_token: Secret | None
    """Token for ``settings.modelscope.endpoint``, and for no other origin."""
    hf_cache: Path
    """Cache directory of the Hugging Face libraries; it may not exist."""
    ollama_models: tuple[Path, ...]
    """Directories in which ollama keeps models; they may not exist."""
    consulted: tuple[Path, ...]
    """Every configuration file that was read or searched."""
    passed_over: tuple[str, ...]
    """The notices about project files that are ignored because of their owner."""
    notices: tuple[str, ...]
    """Messages for the user about the configuration; one line each, without control characters."""
    uses_logins: bool = True
    """Whether logins of container tools may be sent to registries."""

    def anonymous(self) -> Loaded:
        """Return the same configuration without tokens and logins, for what strangers cause."""
        return replace(self, hf_token=None, ms_token=None, uses_logins=False)


def load(
    *,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    cwd: Path | None,
    config_file: Path | None = None,
) -> Loaded:
    """Load the configuration of one run.

    Args:
        flags: Settings for this run, by name (``network.files``, ``cache_dir``, ``offline``); None means not
            given. Text is read as in the environment.
        environ: The environment, usually ``os.environ``.
        cwd: Base of relative paths and of the search for a project; None if the directory was removed.
        config_file: The user's file, in place of ``MODELFETCH_CONFIG`` and the standard path.

    Raises:
        ConfigError: A file, variable or flag is wrong; the message lists all faults.
    """
    cwd, home = cwd.absolute() if cwd is not None else None, home_directory(environ)
    files = _read_files(environ, cwd, config_file)
    merged = _merge(files, environ, flags)
    token = _withhold_token(hf_environment.token(environ, home), "huggingface.endpoint", merged, files)
    ms_token = _withhold_token(_modelscope_token(environ), "modelscope.endpoint", merged, files)
    return Loaded(
        settings=build(merged.values),
        origins=merged.origins | {"hf_token": token.origin, "ms_token": ms_token.origin},
        cache_dir=cache_directory(str(merged.values["cache_dir"]), cwd, home),
        offline=bool(merged.values["offline"]),
        user_config=files.user_config,
        project_file=files.search.found,
        catalog_user=files.user_config.parent / "catalog",
        catalog_project=_in_project(files.search.found, merged.lists.get("catalog", ())),
        catalog_environment=_path_list(environ.get("MODELFETCH_CATALOG", ""), cwd, home),
        models=merged.lists.get("models", ()),
        hf_token=token.secret,
        ms_token=ms_token.secret,
        hf_cache=(cwd or NOWHERE) / hf_environment.cache(environ, home),
        ollama_models=ollama_environment.models(environ, home),
        consulted=(files.user_config, *files.search.visited),
        passed_over=files.search.notices,
        notices=(*files.notices, *filter(None, [token.notice, ms_token.notice]), *idle_notices(merged)),
    )


@dataclass(frozen=True, slots=True)
class _Files:
    """The user's file and the project's file with their values; of a project only those that it may set."""

    user_config: Path
    search: Search
    user: Layer
    project: Layer
    notices: tuple[str, ...]


def _read_files(environ: Mapping[str, str], cwd: Path | None, config_file: Path | None) -> _Files:
    """Read both files, and remove the values that a project may not set."""
    is_named = config_file is not None or bool(environ.get("MODELFETCH_CONFIG", "").strip())
    owners = trusted_owners(environ)
    user_config = _user_config(environ, cwd, config_file, is_named=is_named)
    search = find_project(cwd, owners)
    user, project = _user_layer(user_config), _project_layer(search.found, owners)
    # Compared with defaults and the user's file only: environment and flags override the project anyway.
    refused = confine(project, layers.from_defaults().values | user.values)
    missing = _missing_notice(user_config, is_named=is_named)
    return _Files(user_config, search, user, project, notices=(*missing, *search.notices, *refused))


def _user_config(
    environ: Mapping[str, str], cwd: Path | None, config_file: Path | None, *, is_named: bool
) -> Path:
    try:
        return user_config_path(environ, cwd, config_file)
    except ConfigError:
        if is_named:
            raise
        return NOWHERE / "config.toml"  # no home directory, so there is no user's file


def _user_layer(path: Path) -> Layer:
    return _file_layer(path, f"user config {sanitize(str(path))}")


def _project_layer(path: Path | None, owners: Owners) -> Layer:
    if path is None:
        return Layer()
    return _file_layer(path, f"project file {sanitize(str(path))}", owners, lists=layers.PROJECT_LISTS)


def _file_layer(path: Path, origin: str, owners: Owners = None, *, lists: tuple[str, ...] = ()) -> Layer:
    try:
        document = read_toml(path, owners)
    except ValueError as error:
        return Layer(faults=[f"{origin}: {sanitize(str(error))}"])
    return layers.from_tables(document or {}, origin, lists=lists)


def _merge(files: _Files, environ: Mapping[str, str], flags: Mapping[str, object]) -> Layer:
    """Merge all places, lowest precedence first.

    Raises:
        ConfigError: A file, variable or flag is wrong; the message lists all faults.
    """
    above = [layers.from_environment(environ), layers.from_flags(flags)]
    return layers.merge([layers.from_defaults(), files.user, files.project, *above])


def _modelscope_token(environ: Mapping[str, str]) -> hf_environment.Token:
    if "MODELSCOPE_API_TOKEN" not in environ:
        return hf_environment.Token(None, "not set")
    from modelfetch.settings import modelscope_environment  # few users have its variables

    return modelscope_environment.token(environ)


def _withhold_token(
    token: hf_environment.Token, name: str, merged: Layer, files: _Files
) -> hf_environment.Token:
    """Withhold the token from an endpoint that only a project's file names.

    A project comes with a clone or an archive from anyone; it must not send the user's token to a server of
    its choice. The token is sent if the user's file or the environment names the endpoint too. The notice
    does not say so, because a malicious project would rely on users following such an instruction.

    It is withheld from every endpoint without TLS on another machine too, whoever names that.

    Args:
        token: The user's token.
        name: The setting of the endpoint that it is for.
        merged: The values of all places.
        files: The values of the files.

    Returns:
        The token to use, with a notice if it is withheld.
    """
    if token.secret is not None and _is_readable_on_the_way(str(merged.values[name])):
        where = f"{merged.origins[name]} sets {name} to {shown(merged.values[name])}"
        notice = (
            f"{where}, without TLS; your token ({token.origin}) is not sent there, as others could read it."
        )
        return hf_environment.Token(None, "withheld", notice)
    confirmed = merged.values[name] in (BY_NAME[name].default, files.user.values.get(name))
    if token.secret is None or confirmed or merged.origins[name] != files.project.origins.get(name):
        return token
    where = shown(merged.values[name])
    notice = (
        f"{merged.origins[name]} sets {name} to {where}; your token ({token.origin}) is not sent there, so "
        "files that need one are refused."
    )
    return hf_environment.Token(None, "withheld", notice)


def _is_readable_on_the_way(url: str) -> bool:
    """Whether requests to an address cross a network without TLS; those to this machine do not."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return True


def _in_project(project: Path | None, entries: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(project.parent / entry for entry in entries) if project else ()


def _path_list(text: str, cwd: Path | None, home: Path) -> tuple[Path, ...]:
    return tuple(absolute(expand(entry, home), cwd) for entry in text.split(os.pathsep) if entry.strip())


def _missing_notice(path: Path, *, is_named: bool) -> Iterator[str]:
    if is_named and not is_there(path):
        where = sanitize(str(path))
        yield f"The configuration file {where} does not exist, or cannot be reached; it counts as empty."


NO_EFFECT: Final = "no effect yet"
"""Marks settings that the program accepts but does not use yet, in notices and in ``config show``."""


def idle_notices(merged: Layer) -> Iterator[str]:
    """Yield one line that lists all settings without effect, each with its origin, if any is set."""
    idle = [
        f"{part} ({merged.origins[name]})"
        for name in merged.values
        if merged.origins[name] != "default" and (part := idle_part(name))
    ]
    if idle:
        yield f"{NO_EFFECT}: {', '.join(idle)}"


def idle_part(name: str) -> str:
    """Return the name of a setting without effect yet, or an empty string."""
    return name if name in BY_NAME and BY_NAME[name].is_idle else ""
