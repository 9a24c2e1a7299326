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


def run(
    workspace: Workspace, events: Iterator[Event], *, json: bool, quiet: bool, also: Reporter | None = None
) -> RunFinished:
    """Follow a run, and say at its end what is left to say."""
    if not json:
        notes(workspace)
    reporters = choose(json=json, quiet=quiet, stdout=sys.stdout, stderr=sys.stderr, environ=os.environ)
    finished = follow(events, [*reporters, *([also] if also is not None else [])])
    if not json:
        for line in error_lines(finished, symbols_for(sys.stderr.encoding)):
            say(line)
    return finished


def leave(finished: RunFinished) -> None:
    """End the command with the run's exit code."""
    raise typer.Exit(finished.exit_code)
