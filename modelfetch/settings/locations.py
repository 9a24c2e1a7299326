"""Places on this machine: the home directory, the user's file, the cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

from modelfetch.errors import ConfigError
from modelfetch.model.text import quote

NOWHERE: Final = Path(os.path.abspath(os.devnull), "nowhere")  # noqa: PTH100 - must not be resolved
"""Stands for a directory that is not known: nothing is ever found below it, or made there."""


def home_directory(environ: Mapping[str, str]) -> Path:
    """The user's home; where none is known, :data:`NOWHERE`."""
    home = Path(environ.get("USERPROFILE" if os.name == "nt" else "HOME") or os.path.expanduser("~"))  # noqa: PTH111
    return home if home.is_absolute() else NOWHERE


def working_directory() -> Path | None:
    """Where this process was started; None where that was removed meanwhile, or cannot be known."""
    try:
        return Path.cwd()
    except OSError:
        return None


def absolute(path: Path, cwd: Path | None) -> Path:
    """Make a path that somebody named independent of the working directory.

    Raises:
        ConfigError: It depends on a directory that is not known.
    """
    if path.is_relative_to(NOWHERE):
        lost, what = path.relative_to(NOWHERE), "home"
    elif cwd is None and not path.is_absolute():
        lost, what = path, "working"
    else:
        return path if cwd is None else cwd / path
    raise ConfigError(
        f"{quote(str(lost))} cannot be found: the {what} directory is not known, or is gone",
        hint="Give it as an absolute path.",
    )


def expand(text: str, home: Path) -> Path:
    """Turn a leading ``~`` into the home directory: where no shell was (a Dockerfile's ENV), none did it."""
    path = Path(text)
    return home.joinpath(*path.parts[1:]) if path.parts[:1] == ("~",) else path


def user_config_path(environ: Mapping[str, str], cwd: Path | None, config_file: Path | None = None) -> Path:
    """The user's file: as given, else ``MODELFETCH_CONFIG``, else where this system keeps such files.

    Raises:
        ConfigError: None is named, and the system has no home directory to look in.
    """
    if config_file is not None:
        return absolute(config_file, cwd)
    if named := environ.get("MODELFETCH_CONFIG", "").strip():
        return absolute(expand(named, home_directory(environ)), cwd)
    return _platform_directory("config") / "config.toml"


def cache_directory(given: str, cwd: Path | None, home: Path) -> Path:
    """The root of the cache: as given, else where this system keeps caches.

    Raises:
        ConfigError: None is given, and the system has no home directory to keep it in.
    """
    return absolute(expand(given, home), cwd) if given else _platform_directory("cache")


def _platform_directory(kind: Literal["cache", "config"]) -> Path:
    import platformdirs

    find = platformdirs.user_cache_path if kind == "cache" else platformdirs.user_config_path
    return require_home(lambda: find("modelfetch"), kind)


def require_home(find: Callable[[], Path], kind: Literal["cache", "config"]) -> Path:
    """Refuse what is found without a home directory (a container's user without an account and ``HOME``).

    Some versions of platformdirs raise then, others answer a relative ``~/...``, which would be made in
    whatever directory the command runs.

    Raises:
        ConfigError: There is no home directory.
    """
    try:
        path = find()
    except RuntimeError:
        path = Path()
    if path.is_absolute():
        return path
    variable = "MODELFETCH_CACHE_DIR" if kind == "cache" else "MODELFETCH_CONFIG"
    raise ConfigError(f"no home directory is known for the {kind}", hint=f"Set HOME or {variable}.")
