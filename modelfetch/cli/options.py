"""Options and arguments that several commands share, so that each has one definition and one help text.

The completion functions run on every Tab in the shell: they import what they need only when called.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path


def given_path(text: str, what: str, hint: str) -> Path:
    """Return the absolute path of an option or argument; an empty one would be the working directory.

    Args:
        text: The path as it was given.
        what: The option or argument, for the error.
        hint: What to give, for the error.

    Raises:
        UsageError: The path is empty.
    """
    from pathlib import Path

    from modelfetch.errors import UsageError
    from modelfetch.settings.locations import absolute, working_directory

    if not text.strip():
        raise UsageError(f"{what} is empty", hint=hint)
    return absolute(Path(text), working_directory())


def complete_model(incomplete: str) -> Iterator[str]:
    """Complete the name of a model, or one of its aliases."""
    from modelfetch.workspace import Workspace

    catalog = Workspace.open().catalog
    yield from (name for name in (*catalog.names(), *catalog.aliases()) if name.startswith(incomplete))


def complete_file(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Complete the path of a file in the model that is named before it; nothing if no catalog has it."""
    from modelfetch.errors import ModelfetchError
    from modelfetch.workspace import Workspace

    try:
        files = Workspace.open().catalog.get(str(ctx.params.get("name"))).files
    except ModelfetchError:
        return
    yield from (file.path for file in files if file.path.startswith(incomplete))


def _complete_kind(incomplete: str) -> Iterator[str]:
    from modelfetch.model.source_kinds import SourceKind

    yield from (kind for kind in SourceKind if kind.startswith(incomplete))


def complete_setting(incomplete: str) -> Iterator[str]:
    """Complete the name of a setting, such as ``network.files``."""
    from modelfetch.settings import SETTINGS

    yield from (setting.name for setting in SETTINGS if setting.name.startswith(incomplete))


def complete_job(incomplete: str) -> Iterator[str]:
    """Complete the id of a job; nothing without a server that answers, as errors would fill the prompt."""
    import os
    from contextlib import closing

    from modelfetch.errors import ModelfetchError
    from modelfetch.remote import ServerClient, find_address, shorten

    try:
        with closing(ServerClient(find_address(None, None, os.environ))) as server:
            jobs = server.jobs()
    except ModelfetchError:
        return
    for job in jobs:
        short = shorten(job.job_id, len(incomplete))
        # Ids come from a server, and the shell puts them into its command line unquoted.
        if short.startswith(incomplete) and short.replace("-", "").isalnum() and short.isascii():
            yield short


class TaskName(StrEnum):
    """The tasks of :data:`modelfetch.model.manifest.Task`, as choices of an option."""

    SPEECH = "speech"
    TEXT = "text"
    EMBEDDING = "embedding"
    VISION = "vision"
    AUDIO = "audio"
    OTHER = "other"


Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Models or references; without one, those that modelfetch.toml lists.",
        autocompletion=complete_model,
    ),
]
PresentNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Models or references; without one, all present models.",
        autocompletion=complete_model,
    ),
]
PinNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Models or references; without one, all that have an upstream.",
        autocompletion=complete_model,
    ),
]
MovedNames = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...", help="Models or references.", autocompletion=complete_model, show_default=False
    ),
]
RemovedNames = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...",
        help="Models, or their references.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name of the model, or its reference.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
OptionalName = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="Model, or its reference, whose hosts are checked too: a part of one file is read.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
CacheDir = Annotated[
    str | None,  # not Path: an empty value, as of an unset variable, would become the current directory
    typer.Option("--cache-dir", metavar="DIR", help="Directory of the cache.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result and errors.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use files on this disk only, never the network.")]
Prefer = Annotated[
    str | None,
    typer.Option(
        "--prefer",
        metavar="KIND",
        help="Try this kind of source first.",
        autocompletion=_complete_kind,
        show_default=False,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="KIND",
        help="Use only this kind of source (repeatable).",
        autocompletion=_complete_kind,
        show_default=False,
    ),
]
To = Annotated[
    str | None,  # not Path: an empty value, as of an unset variable, would become the current directory
    typer.Option("--to", metavar="DIR", help="Also place the files in this directory.", show_default=False),
]


From = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="PATH",
        help="Also take files from this bundle or directory (repeatable).",
        show_default=False,
    ),
]


class ForeignLayout(StrEnum):
    """Directory layouts of other programs."""

    HF = "hf"


Layout = Annotated[
    ForeignLayout | None,
    typer.Option(
        "--layout",
        help="Also link the files into the cache of the Hugging Face libraries, for offline use.",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Fetch every file again.")]
Files = Annotated[
    int | None,
    typer.Option("--files", metavar="N", min=1, help="Files to fetch at the same time.", show_default=False),
]
Connections = Annotated[
    int | None,
    typer.Option(
        "--connections",
        metavar="N",
        min=1,
        help="Connections per file, if a single one is slow.",
        show_default=False,
    ),
]
LimitRate = Annotated[
    str | None,
    typer.Option(
        "--limit-rate",
        metavar="RATE",
        help="Most bytes per second for the whole run, such as 8M.",
        show_default=False,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0, help="Stop the run after this time.", show_default=False
    ),
]
LockTimeout = Annotated[
    float | None,
    typer.Option(
        "--lock-timeout",
        metavar="SECONDS",
        min=0,
        help="Longest wait for a lock of another process.",
        show_default=False,
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only the I-th of N parts of the models, for jobs that run in parallel.",
        show_default=False,
    ),
]
Jitter = Annotated[
    float | None,
    typer.Option(
        "--jitter",
        metavar="SECONDS",
        help="Wait a random time up to this before the first request, for jobs that start together.",
        show_default=False,
    ),
]
Swarm = Annotated[
    bool | None,
    typer.Option(
        "--swarm/--no-swarm",
        help="Exchange the files with other machines by BitTorrent, where a model has a swarm.",
        show_default=False,
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Address of a running server, as `modelfetch serve` prints it.",
        show_default=False,
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token", metavar="TOKEN", help="Token of the server, if URL has none.", show_default=False
    ),
]
