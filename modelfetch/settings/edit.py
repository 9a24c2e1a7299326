"""Changing the user's file: one value at a time, checked, and never half written.

The rest of the file keeps its values and their order; comments are not kept, since tomli-w writes none.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelfetch.errors import ConfigError
from modelfetch.model.text import sanitise
from modelfetch.settings.config_files import read_toml
from modelfetch.settings.layers import unknown_key
from modelfetch.settings.table import BY_NAME, RUN_SETTINGS
from modelfetch.settings.types import Setting, TomlValue

_MODE = 0o600
"""Mode of a new file: mirrors may hold credentials. A file that is there keeps its own mode."""

_DIRECTORY_MODE = 0o700
"""Mode of a new configuration directory (XDG Base Directory Specification, last paragraph)."""


def set_value(path: Path, key: str, text: str) -> None:
    """Set ``section.key`` in a configuration file, which is created if need be.

    Args:
        path: The user's file; a symbolic link stays one.
        key: Name of the setting.
        text: The value as in an environment variable: lists separated by commas.

    Raises:
        ConfigError: Key or value are wrong, or the file cannot be read as TOML or written; it is unchanged.
    """
    setting = _setting(key)
    plain = _plain(setting, text.strip())
    tables = _tables(path)
    _section(tables, setting, path)[setting.key] = plain
    _write(path, tables)


def unset_value(path: Path, key: str) -> bool:
    """Take ``section.key`` out of a configuration file, so that the weaker places decide again.

    Returns:
        Whether it was there.

    Raises:
        ConfigError: The key is unknown, or the file cannot be read as TOML or written; it is unchanged.
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
            raise ConfigError(
                f"{key} cannot be kept in a file", hint=f"Use {row.flag} or set {row.variable}."
            )
    section, _, name = key.rpartition(".")
    hint = "`modelfetch config show` lists every setting."
    raise ConfigError(unknown_key(section, name), hint=hint)


def _plain(setting: Setting, text: str) -> TomlValue:
    plain = setting.form.from_text(text)
    try:
        setting.form.validate(plain)
    except ValueError as error:
        raise ConfigError(f"{setting.name}: {error}", hint="Nothing was changed.") from error
    return plain


def _tables(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path) or {}
    except ValueError as error:
        raise ConfigError(
            f"{sanitise(str(path))}: {sanitise(str(error))}",
            hint="Correct the file first; nothing was changed.",
        ) from error


def _section(tables: dict[str, Any], setting: Setting, path: Path) -> dict[str, Any]:
    table = tables.setdefault(setting.section, {})
    if isinstance(table, dict):
        return table
    raise ConfigError(
        f"{sanitise(str(path))}: {setting.section}: expected a table, written as [{setting.section}]",
        hint="Correct the file first; nothing was changed.",
    )


def _write(path: Path, tables: dict[str, Any]) -> None:
    import tomli_w

    data = tomli_w.dumps(tables).encode()
    try:
        _replace(path.resolve(), data)
    except OSError as error:
        raise ConfigError(
            f"{sanitise(str(path))}: cannot be written: {error.strerror}",
            hint="Mend its permissions, or name another file with MODELFETCH_CONFIG.",
        ) from error


def _replace(target: Path, data: bytes) -> None:
    """Put new content in place of a file in one step; what was there is whole until then."""
    mode = _mode(target)
    target.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
    try:
        _create(beside, data)
        beside.chmod(mode)
        beside.replace(target)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def _create(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, _MODE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _mode(target: Path) -> int:
    """The mode the file shall have; a device such as ``/dev/null`` must not be replaced by a file."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return _MODE
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return stat.S_IMODE(mode)
