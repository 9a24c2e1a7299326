"""Editing the user's file: set or remove one value, for ``config set`` and ``config unset``.

The value is validated first, then the whole file is replaced in one step, so that a crash leaves the old or
the new file. Comments, other values and their order are kept (tomlkit). A file that is not valid TOML is
never overwritten.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfetch.errors import ConfigError
from modelfetch.model.text import sanitize
from modelfetch.settings.config_files import parse_settings, read_text
from modelfetch.settings.layers import unknown_key
from modelfetch.settings.replace_file import replace_file
from modelfetch.settings.table import BY_NAME, RUN_SETTINGS
from modelfetch.settings.types import Setting, TomlValue

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

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
    document = read_document(path)
    _section(document, setting, path)[setting.key] = value
    write_document(path, document)


def unset_value(path: Path, key: str) -> bool:
    """Remove ``section.key`` from a configuration file, so that the default applies again.

    Returns:
        Whether the file had the key.

    Raises:
        ConfigError: The key is unknown, or the file is not valid TOML or cannot be written; it is unchanged.
    """
    setting = _setting(key)
    document = read_document(path)
    section = _section(document, setting, path)
    if setting.key not in section:
        return False
    del section[setting.key]
    if not section:
        del document[setting.section]
    write_document(path, document)
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


def read_document(path: Path) -> TOMLDocument:
    """Read a TOML file for editing: with its comments, white space and order.

    Raises:
        ConfigError: The file cannot be read or is not valid TOML.
    """
    import tomlkit
    from tomlkit.exceptions import ParseError

    try:
        text = (read_text(path) or "").removeprefix("\ufeff")
        parse_settings(text)  # what the settings' own parser refuses is not edited either
        return tomlkit.parse(text)
    except (ValueError, ParseError) as error:
        raise ConfigError(
            f"{sanitize(str(path))}: {sanitize(str(error))}",
            hint="Correct the file first; nothing was changed.",
        ) from error


def write_document(path: Path, document: TOMLDocument, *, is_private: bool = True) -> None:
    """Replace a TOML file by an edited document.

    Args:
        path: The file; of a symbolic link the target is replaced.
        document: Its new content.
        is_private: Whether a new file is readable for the user alone.

    Raises:
        ConfigError: The file cannot be written; it is unchanged.
    """
    import tomlkit

    from modelfetch.settings.replace_file import PRIVATE, PUBLIC

    data = tomlkit.dumps(document).encode()
    try:
        replace_file(path, data, mode=PRIVATE if is_private else PUBLIC, directory_mode=_DIRECTORY_MODE)
    except OSError as error:
        raise ConfigError(
            f"{sanitize(str(path))}: cannot be written: {error.strerror}",
            hint="Correct its permissions, or name another file with MODELFETCH_CONFIG."
            if is_private
            else "Correct its permissions.",
        ) from error


def _section(document: TOMLDocument, setting: Setting, path: Path) -> MutableMapping[str, Any]:
    """Return the table of a setting; it is created at the end of the document if there is none."""
    import tomlkit

    if setting.section not in document:
        document[setting.section] = tomlkit.table()
    table = document[setting.section]
    if isinstance(table, MutableMapping):
        return table
    raise ConfigError(
        f"{sanitize(str(path))}: {setting.section}: expected a table, written as [{setting.section}]",
        hint="Correct the file first; nothing was changed.",
    )
