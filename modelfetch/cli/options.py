"""Options that several commands share: one definition, one wording."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer


def _complete_model(incomplete: str) -> Iterator[str]:
    from modelfetch.workspace import Workspace

    catalog = Workspace.open().catalog
    yield from (name for name in (*catalog.names(), *catalog.aliases()) if name.startswith(incomplete))


def _complete_kind(incomplete: str) -> Iterator[str]:
    from modelfetch.settings import SOURCE_KINDS

    yield from (kind for kind in SOURCE_KINDS if kind.startswith(incomplete))


Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...", help="Models; none means the project's.", autocompletion=_complete_model
    ),
]
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The model.", autocompletion=_complete_model, show_default=False)
]
CacheDir = Annotated[
    str | None,  # as text: an empty one is not the directory in which the command runs
    typer.Option("--cache-dir", metavar="DIR", help="Root of the cache.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the result and errors.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use what is on this disk only.")]
Prefer = Annotated[
    str | None,
    typer.Option(
        "--prefer",
        metavar="KIND",
        help="Ask this kind of source first.",
        autocompletion=_complete_kind,
        show_default=False,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="KIND",
        help="Ask this kind of source only (repeatable).",
        autocompletion=_complete_kind,
        show_default=False,
    ),
]
Files = Annotated[
    int | None,
    typer.Option("--files", metavar="N", min=1, help="Files in work at the same time.", show_default=False),
]
Connections = Annotated[
    int | None,
    typer.Option(
        "--connections",
        metavar="N",
        min=1,
        help="Connections to one file, where one alone is slow.",
        show_default=False,
    ),
]
LimitRate = Annotated[
    str | None,
    typer.Option(
        "--limit-rate",
        metavar="RATE",
        help="Bytes per second for the whole run, such as 8M.",
        show_default=False,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0, help="End the run after this time.", show_default=False
    ),
]
LockTimeout = Annotated[
    float | None,
    typer.Option(
        "--lock-timeout",
        metavar="SECONDS",
        min=0,
        help="Wait no longer than this for another process.",
        show_default=False,
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="A running server: the line that `modelfetch serve` printed.",
        show_default=False,
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", metavar="TOKEN", help="The server's token, if not in URL.", show_default=False),
]
