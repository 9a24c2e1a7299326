"""Running a stream of events to its end, with the face that suits where the output goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import typer

from modelfetch.cli.talk import notes, say
from modelfetch.engine.events import Event, ModelReady, RunFinished
from modelfetch.engine.stream import Record, Reporter, follow
from modelfetch.reporters import choose, error_lines, symbols_for
from modelfetch.workspace import Workspace


class Ready:
    """Remembers the directories of the models that became ready."""

    def __init__(self) -> None:
        self.directories: dict[str, str] = {}

    def report(self, record: Record) -> None:
        """Take note of a model."""
        if isinstance(record.event, ModelReady):
            self.directories[record.event.model] = record.event.path

    def close(self) -> None:
        """Nothing was taken."""


class Piped:
    """A reporter whose reader may go away (``| head -1``): that ends the telling, and is no failure."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._has_reader = True

    def report(self, record: Record) -> None:
        """Tell the reporter, as long as it can pass it on."""
        if not self._has_reader:
            return
        try:
            self._reporter.report(record)
        except BrokenPipeError:
            self._has_reader = False

    def close(self) -> None:
        """Close the reporter."""
        self._reporter.close()


def run(
    workspace: Workspace, events: Iterator[Event], *, json: bool, quiet: bool, also: Reporter | None = None
) -> RunFinished:
    """Follow a run, and say at its end what is left to say."""
    if not (json or quiet):
        notes(workspace)
    reporters = choose(json=json, quiet=quiet, stdout=sys.stdout, stderr=sys.stderr, environ=os.environ)
    recorder = workspace.recorder()
    finished = follow(events, [*map(Piped, reporters), *([also] if also is not None else []), recorder])
    if not json:
        if recorder.notice and not quiet:
            say(f"note: {recorder.notice}")
        for line in error_lines(finished, symbols_for(sys.stderr.encoding)):
            say(line)
    return finished


def leave(finished: RunFinished) -> None:
    """End the command with the run's exit code."""
    raise typer.Exit(finished.exit_code)
