"""Run ``ensure`` and ``verify`` once their arguments are parsed, by typer or without it.

Each opens the workspace, follows the events of the run with the reporters that suit stdout and stderr,
records it in the history, and prints the result on stdout: the directories of models, or the bad files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Never

from modelfetch.cli.output import notes, print_line, say, warn
from modelfetch.engine.events import Event, ModelReady, RunFinished
from modelfetch.engine.setup import RunOptions
from modelfetch.engine.stream import Record, Reporter, follow
from modelfetch.model.text import sanitise
from modelfetch.reporters import choose, error_lines, symbols_for
from modelfetch.streams import write_path
from modelfetch.workspace import Workspace


class Ready:
    """Collects the directories of the models that became ready."""

    def __init__(self) -> None:
        self.directories: dict[str, str] = {}

    def report(self, record: Record) -> None:
        """Keep the directory of a model that became ready."""
        if isinstance(record.event, ModelReady):
            self.directories[record.event.model] = record.event.path

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def run(
    workspace: Workspace, events: Iterator[Event], *, json: bool, quiet: bool, also: Reporter | None = None
) -> RunFinished:
    """Follow a run to its end, and print its notices and its error.

    Raises:
        KeyboardInterrupt: A second Ctrl-C came before the run had ended after the first one.
    """
    try:
        return _run(workspace, events, json=json, quiet=quiet, also=also)
    except KeyboardInterrupt:
        if not json:
            say("cancelled; run the command again to continue")
        raise


def _run(
    workspace: Workspace, events: Iterator[Event], *, json: bool, quiet: bool, also: Reporter | None
) -> RunFinished:
    if not quiet:
        (warn if json else notes)(workspace)
    reporters = choose(
        json=json,
        quiet=quiet,
        stdout=sys.stdout,
        stderr=sys.stderr,
        environ=os.environ,
        notices=workspace.notices,
    )
    recorder = workspace.recorder()
    # Reporters get each record in this order, so the user sees it before the history is written.
    finished = follow(events, [*reporters, *([also] if also is not None else []), recorder])
    if not quiet:
        for note in workspace.notices.take():
            say(f"note: {note}")
    if not json:
        if recorder.notice and not quiet:
            say(f"note: {recorder.notice}")
        for line in error_lines(finished, symbols_for(sys.stderr.encoding)):
            say(line)
    return finished


def print_bad(finished: RunFinished, *, quiet: bool) -> None:
    """Print the bad files on stdout, unless stdout is a terminal, which shows them already."""
    if not quiet and sys.stdout.isatty():
        return
    for result in finished.files:
        if result.status == "failed":
            print_line("\t".join(map(sanitise, (result.model, result.file, result.reason))))


def exit_with(finished: RunFinished) -> Never:
    """End a typer command with the exit code of a run."""
    import typer

    raise typer.Exit(finished.exit_code)


def run_ensure(
    names: Sequence[str],
    flags: Mapping[str, object] | None = None,
    options: RunOptions | None = None,
    *,
    force: bool = False,
    to: Path | None = None,
    layout_hf: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Fetch and verify models, report progress, and print the directories of those that are ready.

    Returns:
        The exit code.

    Raises:
        ModelfetchError: The run could not start.
    """
    workspace = Workspace.open(flags)
    manifests = workspace.manifests(names)
    ready = Ready()
    events = workspace.ensure(manifests, options or RunOptions(), force=force, to=to, layout_hf=layout_hf)
    finished = run(workspace, events, json=json, quiet=quiet, also=ready)
    if not json:
        for manifest in manifests:
            if manifest.name in ready.directories:
                write_path(ready.directories[manifest.name])
    return finished.exit_code


def run_verify(
    names: Sequence[str],
    flags: Mapping[str, object] | None = None,
    options: RunOptions | None = None,
    *,
    quick: bool = False,
    repair: bool = False,
    strict: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Verify models, report progress, and print the bad files.

    Returns:
        The exit code.

    Raises:
        ModelfetchError: The run could not start.
    """
    workspace = Workspace.open(flags)
    manifests = workspace.manifests(names) if names else workspace.present()
    if not (manifests or json or quiet):
        say("nothing to verify: no model is present yet")
    events = workspace.verify(manifests, options or RunOptions(), quick=quick, repair=repair, strict=strict)
    finished = run(workspace, events, json=json, quiet=quiet)
    if not json:
        print_bad(finished, quiet=quiet)
    return finished.exit_code
