"""Layers of settings: the validated values of one place (file, environment, flags) with their origin.

Each ``from_...`` function creates the :class:`Layer` of one place; :func:`merge` puts layers over each other.
Faults are collected and raised together, so that a user can correct them all at once. An unknown key or
variable is a fault with a suggestion, so that a misspelled setting is never ignored without a message:
``user config /home/me/.config/modelfetch/config.toml: unknown key 'network.fils'. Did you mean 'files'?``
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Final

from modelfetch.errors import ConfigError
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.model.text import did_you_mean, quote, sanitize
from modelfetch.settings import hf_environment
from modelfetch.settings.table import (
    BY_NAME,
    BY_VARIABLE,
    ENVIRONMENT,
    RUN_SETTINGS,
    SECTIONS,
    SETTINGS,
    keys,
)
from modelfetch.settings.types import Setting, Value

PROJECT_LISTS: Final = ("catalog", "models")
"""Top-level keys of a project's file, besides the tables of settings."""

_PREFIX: Final = "MODELFETCH_"
_SERVICE: Final = (  # compiled on first use: it is for unknown variables
    r"(?s)MODELFETCH(?:_\w+)?_"
    r"(?:SERVICE_HOST=.*|SERVICE_PORT(?:_\w+)?=\d+|PORT=\w+://.*|PORT_\d+_(?:TCP|UDP|SCTP)(?:_PROTO|_PORT|_ADDR)?=.*)"
)
"""``NAME=value`` of a variable that Kubernetes sets for a service, see :func:`is_of_a_service`. The value is
part of the pattern because ``MODELFETCH_SERVE_PORT=9000`` must count as an unknown setting."""

_SIMILARITY: Final = 0.75
"""Similarity (difflib ratio) from which an unknown variable counts as a misspelled setting. Other
variables that start with ``MODELFETCH_`` are ignored."""


@dataclass(slots=True)
class Layer:
    """Values of one place by ``section.key``, the origin of each, and the faults found there."""

    values: dict[str, Value] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """A project's ``catalog`` and ``models``."""
    faults: list[str] = field(default_factory=list)

    def add(self, setting: Setting, raw: object, origin: str, place: str) -> None:
        """Validate a value and add it, or its fault.

        Args:
            setting: The setting.
            raw: A TOML value.
            origin: Where the value comes from, as ``config show`` prints it.
            place: Start of the fault's message: the origin, with the key if the origin does not name it.
        """
        try:
            self.values[setting.name] = setting.form.validate(raw)
        except ValueError as error:
            self.faults.append(f"{place}: {error}")
        else:
            self.origins[setting.name] = origin


def merge(layers: Iterable[Layer]) -> Layer:
    """Merge layers; a later layer overrides earlier ones.

    Raises:
        ConfigError: A layer has faults; the message lists those of all layers.
    """
    merged = Layer()
    for layer in layers:
        merged.values |= layer.values
        merged.origins |= layer.origins
        merged.lists |= layer.lists
        merged.faults += layer.faults
    if merged.faults:
        raise _error(merged.faults)
    return merged


def _error(faults: Sequence[str]) -> ConfigError:
    lines = (
        faults if len(faults) == 1 else [f"{len(faults)} settings are wrong:", *(f"  {it}" for it in faults)]
    )
    return ConfigError("\n".join(lines), hint="Correct or remove it; without it the default is used.")


@cache  # a server loads the settings for each job, and checking every default takes a third of that time
def from_defaults() -> Layer:
    """Return the defaults of the table; all callers share the layer, and none may change it."""
    rows = (*SETTINGS, *RUN_SETTINGS)
    return Layer({row.name: row.default for row in rows}, {row.name: "default" for row in rows})


def from_tables(document: Mapping[str, object], origin: str, *, lists: Sequence[str] = ()) -> Layer:
    """Return the values of a file.

    Args:
        document: The file as TOML tables.
        origin: The name of the file in messages.
        lists: Names of lists of strings that may stand at the top level, besides the tables.
    """
    layer = Layer()
    for name, raw in document.items():
        if name in lists:
            _add_list(layer, name, raw, origin)
        elif name not in SECTIONS:
            layer.faults.append(f"{origin}: {_unknown_section(name, [*SECTIONS, *lists])}")
        elif isinstance(raw, dict):
            _add_table(layer, name, raw, origin)
        else:
            layer.faults.append(f"{origin}: {name}: expected a table, written as [{name}]")
    return layer


def _add_list(layer: Layer, name: str, raw: object, origin: str) -> None:
    if isinstance(raw, list) and all(isinstance(item, str) and item.strip() for item in raw):
        layer.lists[name] = tuple(raw)
    else:
        layer.faults.append(f'{origin}: {name}: expected a list of strings, written as {name} = ["..."]')


def _add_table(layer: Layer, section: str, table: Mapping[str, object], origin: str) -> None:
    for key, raw in table.items():
        setting = BY_NAME.get(f"{section}.{key}")
        if setting is None:
            layer.faults.append(f"{origin}: {unknown_key(section, key)}")
        else:
            layer.add(setting, raw, origin, f"{origin}: {setting.name}")


def _unknown_section(name: str, choices: Sequence[str]) -> str:
    if name in PROJECT_LISTS:
        return f"{name} belongs at the top of a project's modelfetch.toml, not here"
    return f"unknown key {quote(name)}.{_section_of(name) or did_you_mean(name, choices)}"


def unknown_key(section: str, key: str) -> str:
    """Return the fault of an unknown key, with a suggestion of the key or the section."""
    guess = did_you_mean(key, keys(section)) or _section_of(key) or did_you_mean(f"{section}.{key}", BY_NAME)
    return f"unknown key {quote(f'{section}.{key}' if section else key)}.{guess}"


def _section_of(key: str) -> str:
    sections = [setting.section for setting in SETTINGS if setting.key == key]
    return f" It belongs under [{sections[0]}]." if sections else ""


def from_environment(environ: Mapping[str, str]) -> Layer:
    """Return the values of the environment: of the hubs' own libraries, then ``MODELFETCH_`` variables.

    The latter override the former. An empty variable counts as not set.
    """
    layer = Layer()
    given = {name: text.strip() for name, text in environ.items() if text.strip()}
    if name := hf_environment.offline(given):
        _add_variable(layer, BY_VARIABLE["MODELFETCH_OFFLINE"], name, given[name])
    if name := hf_environment.endpoint(given):
        _add_variable(layer, BY_NAME["huggingface.endpoint"], name, given[name])
    if "MODELSCOPE_ENDPOINT" in given:
        from modelfetch.settings import modelscope_environment  # few users have its variables

        address = modelscope_environment.endpoint(given)
        _add_variable(layer, BY_NAME["modelscope.endpoint"], "MODELSCOPE_ENDPOINT", address)
    for name, text in given.items():
        if setting := BY_VARIABLE.get(name):
            _add_variable(layer, setting, name, text)
        elif not is_of_a_service(name, text) and _looks_like_setting(name):
            layer.faults.append(f"environment {sanitize(name)}: no such setting.{_suggest_variable(name)}")
    return layer


def _add_variable(layer: Layer, setting: Setting, name: str, text: str) -> None:
    origin = f"environment {name}"
    layer.add(setting, setting.form.from_text(text), origin, origin)


def _looks_like_setting(name: str) -> bool:
    """Return whether an unknown variable is a misspelled setting; ``MODELFETCH_VERSION`` in CI is not."""
    if not name.startswith(_PREFIX) or name in ENVIRONMENT:
        return False
    sections = tuple(f"{_PREFIX}{section.upper()}_" for section in SECTIONS)
    return name.startswith(sections) or bool(_suggest_variable(name))


def is_of_a_service(name: str, text: str) -> bool:
    """Return whether Kubernetes set a variable, as it does in every pod for a service ``modelfetch...``.

    https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    return re.fullmatch(_SERVICE, f"{name}={text}") is not None


def _suggest_variable(name: str) -> str:
    from difflib import get_close_matches

    known = [variable.removeprefix(_PREFIX) for variable in (*BY_VARIABLE, *ENVIRONMENT)]
    close = get_close_matches(name.removeprefix(_PREFIX), known, n=1, cutoff=_SIMILARITY)
    return f" Did you mean {quote(_PREFIX + close[0])}?" if close else ""


def from_flags(flags: Mapping[str, object]) -> Layer:
    """Return the values of command-line options or arguments of the Python API, by name of the setting.

    None means not given. So does an empty string, because a shell passes one for an unset variable:
    ``--cache-dir "$DIR"``.
    """
    layer = Layer()
    known = BY_NAME | {row.name: row for row in RUN_SETTINGS}
    for name, raw in flags.items():
        setting = known.get(name)
        if setting is None:
            layer.faults.append(f"argument {quote(name)}: no such setting.{did_you_mean(name, known)}")
        elif raw is not None and raw != "":
            origin = f"flag {setting.flag}" if setting.flag else f"argument {name}"
            layer.add(setting, setting.form.from_text(raw) if isinstance(raw, str) else raw, origin, origin)
    return layer
