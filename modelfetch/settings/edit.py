"""Editing the user's file: set or remove one value, for ``config set`` and ``config unset``.

The value is validated first, then the whole file is replaced in one step, so that a crash leaves the old or
the new file. Other values keep their order; comments are lost, because tomli-w does not write them. A file
that is not valid TOML is never overwritten.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelfetch.errors import ConfigError
from modelfetch.model.text import sanitize
from modelfetch.settings.config_files import read_toml
from modelfetch.settings.layers import unknown_key
from modelfetch.settings.table import BY_NAME, RUN_SETTINGS
from modelfetch.settings.types import Setting, TomlValue

_MODE = 0o600
"""Mode of a new file: mirrors may hold credentials. An existing file keeps its mode."""

_DIRECTORY_MODE = 0o700
"""Mode of a new configuration directory (XDG Base Directory Specification, last paragraph)."""


def set_value(path: Path, key: str, text: str) -> None:
    """Set ``section.key`` in a configuration file; create the file if it does not exist.

    Args:
        path: The user's file; of a symbolic link the target is replaced.
        key: Name of the setting.
        text: The value as in an environment variable: lists separated by commas.

    Raises:
        ConfigError: Key or value are wrong, or the file is not valid TOML or cannot be written; it is
            unchanged.
    """
    setting = _setting(key)
    value = _toml_value(setting, text.strip())
    tables = _tables(path)
    _section(tables, setting, path)[setting.key] = value
    _write(path, tables)


def unset_value(path: Path, key: str) -> bool:
    """Remove ``section.key`` from a configuration file, so that the default applies again.

    Returns:
        Whether the file had the key.

    Raises:
        ConfigError: The key is unknown, or the file is not valid TOML or cannot be written; it is unchanged.
    """
    setting = _setting(key)
    tables = _tables(path)
    section = _section(tables, setting, path)
    if setting.key not in section:
        return False
    del section[setting.key]
    if not section:
        del tables[setting.section]
    _write(path, tables)
    return True


def _setting(key: str) -> Setting:
    if setting := BY_NAME.get(key):
        return setting
    for row in RUN_SETTINGS:
        if key == row.name:
            raise ConfigError(f"{key} cannot be set in a file", hint=f"Use {row.flag} or set {row.variable}.")
    section, _, name = key.rpartition(".")
    hint = "`modelfetch config show` lists every setting."
    raise ConfigError(unknown_key(section, name), hint=hint)


def _toml_value(setting: Setting, text: str) -> TomlValue:
    """Validate a value and return it as written by the user, with its unit."""
    value = setting.form.from_text(text)
    try:
        setting.form.validate(value)
    except ValueError as error:
        raise ConfigError(f"{setting.name}: {error}", hint="Nothing was changed.") from error
    return value


def _tables(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path) or {}
    except ValueError as error:
        raise ConfigError(
            f"{sanitize(str(path))}: {sanitize(str(error))}",
            hint="Correct the file first; nothing was changed.",
        ) from error


def _section(tables: dict[str, Any], setting: Setting, path: Path) -> dict[str, Any]:
    table = tables.setdefault(setting.section, {})
    if isinstance(table, dict):
        return table
    raise ConfigError(
        f"{sanitize(str(path))}: {setting.section}: expected a table, written as [{setting.section}]",
        hint="Correct the file first; nothing was changed.",
    )


def _write(path: Path, tables: dict[str, Any]) -> None:
    import tomli_w

    data = tomli_w.dumps(tables).encode()
    try:
        _replace(path.resolve(), data)
    except OSError as error:
        raise ConfigError(
            f"{sanitize(str(path))}: cannot be written: {error.strerror}",
            hint="Correct its permissions, or name another file with MODELFETCH_CONFIG.",
        ) from error


def _replace(target: Path, data: bytes) -> None:
    """Replace the content of a file in one step: write a temporary file, sync it, rename it."""
    mode = _mode(target)
    target.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    # In the same directory: rename() is atomic within one file system only.
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
    try:
        _create(temporary, data)
        temporary.chmod(mode)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _create(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, _MODE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # before the rename, or a power cut may leave an empty file under the name


def _mode(target: Path) -> int:
    """Return the mode for the new content; refuse a device such as ``/dev/null``, which must stay one."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return _MODE
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return stat.S_IMODE(mode)
