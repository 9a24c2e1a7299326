"""``config``: show settings and their origins, and change the user's configuration file.

``config show`` reads all layers: defaults, files, environment and options. ``config set`` and ``config
unset`` edit the user's file only, and do not read the other layers: those may be what has to be corrected.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from modelfetch import tracing
from modelfetch.cli import options
from modelfetch.cli.help import Commands, epilog
from modelfetch.cli.output import notes, print_json, say
from modelfetch.cli.tables import Column, print_table
from modelfetch.streams import write_path

app = typer.Typer(
    name="config",
    cls=Commands,
    help="Show and change settings.",
    epilog=epilog("config"),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Key = Annotated[
    str,
    typer.Argument(
        metavar="SECTION.KEY",
        help="Setting, such as network.files.",
        autocompletion=options.complete_setting,
        show_default=False,
    ),
]


@app.command("show", epilog=epilog("config show"))
def show(cache_dir: options.CacheDir = None, json: options.Json = False) -> None:
    """Show every setting with its value and where the value comes from.

    Settings without effect in this version are marked.
    """
    from modelfetch.settings import SETTINGS, shown
    from modelfetch.settings.load import idle_part
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    loaded = workspace.loaded
    values = {"cache_dir": str(loaded.cache_dir), "offline": shown(loaded.offline)}
    idle: dict[str, str] = {}
    for setting in SETTINGS:
        value = loaded.settings.value(setting.name)
        values[setting.name], idle[setting.name] = shown(value), idle_part(setting.name)
    values["hf_token"] = "set" if loaded.hf_token is not None else shown(None)
    values["ms_token"] = "set" if loaded.ms_token is not None else shown(None)
    if json:
        facts = {name: {"value": value, "origin": loaded.origins[name]} for name, value in values.items()}
        print_json({name: fact | _no_effect(idle.get(name)) for name, fact in facts.items()})
        return
    notes(workspace)
    rows = [[name, value, _origin(loaded.origins[name], idle.get(name))] for name, value in values.items()]
    print_table(
        [
            Column("setting"),
            Column("value", flexible=True, fold=True),
            Column("from", flexible=True, fold=True),
        ],
        rows,
    )


def _no_effect(idle: str | None) -> dict[str, str]:
    return {"no_effect_yet": idle} if idle else {}


def _origin(origin: str, idle: str | None) -> str:
    """Where a value comes from, and which part of it has no effect in this version."""
    from modelfetch.settings.load import NO_EFFECT

    if not idle:
        return origin
    part, _, whole = idle.partition(" in ")
    return f"{origin} ({part + ': ' if whole else ''}{NO_EFFECT})"


@app.command("path", epilog=epilog("config path"))
def path(json: options.Json = False) -> None:
    """Print the path of the user's configuration file."""
    target = str(_user_config())
    if json:
        print_json({"path": target})
    else:
        write_path(target)


@app.command("set", epilog=epilog("config set"))
def set_(
    key: Key,
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="New value; separate the items of a list with commas.")
    ],
    json: options.Json = False,
) -> None:
    """Set a value in the user's configuration file."""
    from modelfetch.settings.edit import set_value
    from modelfetch.settings.load import NO_EFFECT, idle_part

    target = _user_config()
    set_value(target, key, value)
    if json:
        print_json({"setting": key, "path": str(target)})
        return
    say(f"set {key} in {target}")
    if idle := idle_part(key):
        say(f"note: {NO_EFFECT}: {idle}")


@app.command("unset", epilog=epilog("config unset"))
def unset(key: Key, json: options.Json = False) -> None:
    """Remove a value from the user's configuration file."""
    from modelfetch.settings.edit import unset_value

    target = _user_config()
    removed = unset_value(target, key)
    if json:
        print_json({"setting": key, "path": str(target), "removed": removed})
    else:
        say(f"removed {key} from {target}" if removed else f"{key} is not set in {target}")


def _user_config() -> Path:
    """Path of the user's file. The file is not read: it may be broken, and `config set` corrects it."""
    from modelfetch.settings import user_config_path
    from modelfetch.settings.locations import working_directory

    found = user_config_path(os.environ, working_directory())
    if tracing.active is not None:
        tracing.active.detail(f"settings: file {found}")
    return found
