"""Places on this machine: the home directory, the user's file, the cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from modelfetch.errors import ConfigError


def home_directory(environ: Mapping[str, str]) -> Path:
    """The user's home; where none is known, a relative path that nothing is found under."""
    return Path(environ.get("USERPROFILE" if os.name == "nt" else "HOME") or os.path.expanduser("~"))  # noqa: PTH111


def expand(text: str, home: Path) -> Path:
    """Turn a leading ``~`` into the home directory: where no shell was (a Dockerfile's ENV), none did it."""
    path = Path(text)
    return home.joinpath(*path.parts[1:]) if path.parts[:1] == ("~",) else path


def user_config_path(environ: Mapping[str, str], cwd: Path, config_file: Path | None = None) -> Path:
    """The user's file: as given, else ``MODELFETCH_CONFIG``, else where this system keeps such files.

    Raises:
        ConfigError: None is named, and the system has no home directory to look in.
    """
    if config_file is not None:
        return cwd.absolute() / config_file
    if named := environ.get("MODELFETCH_CONFIG", "").strip():
        return cwd.absolute() / expand(named, home_directory(environ))
    return _platform_directory("config") / "config.toml"


def cache_directory(given: str, cwd: Path, home: Path) -> Path:
    """The root of the cache: as given, else where this system keeps caches.

    Raises:
        ConfigError: None is given, and the system has no home directory to keep it in.
    """
    return cwd / expand(given, home) if given else _platform_directory("cache")


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
