"""Paths on this machine: home directory, user's file and cache.

The user's file and the cache lie in the standard directories of the system (platformdirs), for example
``~/.config/modelfetch/config.toml`` and ``~/.cache/modelfetch`` on Linux, unless a variable or flag names
others. A container may have no home directory, and a working directory may have been removed; a path that
depends on one of them is an error only when it is needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

from modelfetch.errors import ConfigError
from modelfetch.model.text import quote

NOWHERE: Final = Path(os.path.abspath(os.devnull), "nowhere")  # noqa: PTH100 - must not be resolved
"""Stands for an unknown directory: a path below a device, where no file exists and none can be created."""


def home_directory(environ: Mapping[str, str]) -> Path:
    """Return the user's home directory, or :data:`NOWHERE` if it is unknown."""
    home = Path(environ.get("USERPROFILE" if os.name == "nt" else "HOME") or os.path.expanduser("~"))  # noqa: PTH111
    return home if home.is_absolute() else NOWHERE


def working_directory() -> Path | None:
    """Return the working directory; None if it was removed or cannot be determined."""
    try:
        return Path.cwd()
    except OSError:
        return None


def absolute(path: Path, cwd: Path | None) -> Path:
    """Make a path absolute.

    Raises:
        ConfigError: The path depends on a home or working directory that is unknown.
    """
    if path.is_relative_to(NOWHERE):
        lost, what = path.relative_to(NOWHERE), "home"
    elif cwd is None and not path.is_absolute():
        lost, what = path, "working"
    else:
        return path if cwd is None else cwd / path
    raise ConfigError(
        f"{quote(str(lost))} cannot be found: the {what} directory is unknown or was removed",
        hint="Give it as an absolute path.",
    )


def expand(text: str, home: Path) -> Path:
    """Replace a leading ``~`` by the home directory; a value without a shell (Dockerfile ENV) keeps it."""
    path = Path(text)
    return home.joinpath(*path.parts[1:]) if path.parts[:1] == ("~",) else path


def user_config_path(environ: Mapping[str, str], cwd: Path | None, config_file: Path | None = None) -> Path:
    """Return the user's file: as given, else ``MODELFETCH_CONFIG``, else the standard path of the system.

    Raises:
        ConfigError: None is named and the home directory is unknown.
    """
    if config_file is not None:
        return absolute(config_file, cwd)
    if named := environ.get("MODELFETCH_CONFIG", "").strip():
        return absolute(expand(named, home_directory(environ)), cwd)
    return _platform_directory("config") / "config.toml"


def cache_directory(given: str, cwd: Path | None, home: Path) -> Path:
    """Return the root of the cache: as given, else the standard cache directory of the system.

    Raises:
        ConfigError: None is given and the home directory is unknown.
    """
    return absolute(expand(given, home), cwd) if given else _platform_directory("cache")


_XDG: Final = {"cache": ("XDG_CACHE_HOME", ".cache"), "config": ("XDG_CONFIG_HOME", ".config")}
"""Variable of each directory, and where it is below the home directory without it (XDG Base Directory)."""


def _platform_directory(kind: Literal["cache", "config"]) -> Path:
    # The usual case on Linux, without loading platformdirs: that takes two thirds of a start of Python. What
    # is unusual is left to it: a relative path, no HOME, Android (which is "linux", with other directories).
    if sys.platform == "linux" and "ANDROID_ROOT" not in os.environ:
        variable, below = _XDG[kind]
        for base in (Path(os.environ.get(variable, "")), Path(os.environ.get("HOME", ""), below)):
            if base.is_absolute():
                return base / "modelfetch"
    import platformdirs

    find = platformdirs.user_cache_path if kind == "cache" else platformdirs.user_config_path
    return require_home(lambda: find("modelfetch"), kind)


def require_home(find: Callable[[], Path], kind: Literal["cache", "config"]) -> Path:
    """Return the path that platformdirs finds, if there is a home directory.

    There is none for a user without an account and without ``HOME``, as in some containers. Then some
    versions of platformdirs raise, and others return a relative ``~/...``, which would create a directory
    called ``~`` in the working directory.

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
