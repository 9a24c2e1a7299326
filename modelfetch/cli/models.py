"""The commands ``list``, ``show`` and ``path``: which models there are, and where they are on this disk.

Parses the options only; :mod:`modelfetch.cli.queries` does the work, also for command lines that are
understood without typer.
"""

from __future__ import annotations

from typing import Annotated

import typer

from modelfetch.cli import options, queries
from modelfetch.cli.list_filters import Sort


def list_models(
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="[PATTERN]",
            help="Part of a name or title, or a pattern such as '*-q8'.",
            show_default=False,
        ),
    ] = None,
    present: Annotated[bool, typer.Option("--present", help="List present models only.")] = False,
    task: Annotated[
        options.TaskName | None,
        typer.Option("--task", help="List models for this task only.", show_default=False),
    ] = None,
    sort: Annotated[
        Sort, typer.Option("--sort", help="Order: by name, largest first, or last used first.")
    ] = Sort.NAME,
    size: Annotated[bool, typer.Option("--size", help="Show the disk space of each model.")] = False,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """List the models of all catalogs, and show which are present."""
    queries.run_list(
        pattern, present=present, task=task, sort=sort, size=size, cache_dir=cache_dir, json=json
    )


def show(
    name: options.Name,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Show one model in full: files, digests, license, sources."""
    queries.run_show(name, cache_dir=cache_dir, json=json)


def path(
    name: options.Name,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            help="Path of a file in the model.",
            autocompletion=options.complete_file,
            show_default=False,
        ),
    ] = None,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Print the path of a model or of one of its files.

    Exits with code 4 if the model is not present.
    """
    queries.run_path(name, file, cache_dir=cache_dir, json=json)
