"""Run ``ensure`` and ``verify`` to their end, and report to the terminal, a log or a program.

The options are parsed already: by typer, or without it in :mod:`modelfetch.cli.entry`. stdout gets the result
(directories, or bad files), stderr everything for people:

    $ modelfetch ensure demo 2>/dev/null
    /home/me/.cache/modelfetch/models/demo/1
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Never

from modelfetch import tracing
from modelfetch.cli.output import begin_json, notes, print_line, say, warn
from modelfetch.engine.events import Event, ModelReady, RunFinished
from modelfetch.engine.stream import Record, Reporter, follow
from modelfetch.model.paths import is_reference
from modelfetch.model.text import sanitize
from modelfetch.reporters import choose, error_lines, symbols_for
from modelfetch.streams import write_path
from modelfetch.workspace import Workspace

if TYPE_CHECKING:
    from modelfetch.cli.shards import Shard
    from modelfetch.engine.options import EnsureOptions
    from modelfetch.engine.setup import RunOptions
    from modelfetch.model.manifest import Manifest


class Ready:
    """A reporter that collects the directories of the models that became ready."""

    def __init__(self) -> None:
        self.directories: dict[str, str] = {}

    def report(self, record: Record) -> None:
        """Note the directory of a model."""
        if isinstance(record.event, ModelReady):
            self.directories[record.event.model] = record.event.path

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def run(
    workspace: Workspace,
    events: Iterator[Event],
    *,
    json: bool,
    quiet: bool,
    also: Reporter | None = None,
    is_recorded: bool = True,
) -> RunFinished:
    """Follow a run to its end, then print notes and the error.

    Args:
        workspace: Where its notices and history come from.
        events: The run.
        json: Whether stdout gets the events.
        quiet: Whether to print nothing but errors.
        also: A further reporter.
        is_recorded: Whether the run belongs into the history of this cache.

    Raises:
        KeyboardInterrupt: A second Ctrl-C came before the run had ended after the first one.
    """
    try:
        return _run(workspace, events, json=json, quiet=quiet, also=also, is_recorded=is_recorded)
    except KeyboardInterrupt:
        if not json:
            say("cancelled; run the command again to continue")
        raise


def _run(
    workspace: Workspace,
    events: Iterator[Event],
    *,
    json: bool,
    quiet: bool,
    also: Reporter | None,
    is_recorded: bool,
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
    recorder = workspace.recorder() if is_recorded else None
    if json:
        begin_json()  # from here on the last event reports every error
    # Reporters get each record in this order, so the user sees it before the history is written.
    further = [reporter for reporter in (also, recorder) if reporter is not None]
    finished = follow(events, [*reporters, *further])
    if not quiet:
        for note in workspace.notices.take():
            say(f"note: {note}")
    if not json:
        if recorder is not None and recorder.notice and not quiet:
            say(f"note: {recorder.notice}")
        for line in error_lines(finished, symbols_for(sys.stderr.encoding)):
            say(line)
    return finished


def print_bad(finished: RunFinished, *, quiet: bool) -> None:
    """Print bad files on stdout, but not on a terminal, where a reporter showed each one already."""
    if not quiet and sys.stdout.isatty():
        return
    for result in finished.files:
        if result.status == "failed":
            reason = result.reason
            if result.ranges:
                from modelfetch.engine.damage import format_ranges

                reason = f"{reason} {format_ranges(result.ranges)}"
            print_line("\t".join(map(sanitize, (result.model, result.file, reason))))


def _say_chance(manifests: Sequence[Manifest], sample: int) -> None:
    """Say what a check of some chunks of each file is worth."""
    from modelfetch.engine.sampling import SHARE, least_chance

    files = [file for manifest in manifests for file in manifest.files]
    found = int(1000 * least_chance(files, sample)) / 1000  # rounded down: 100 % is certain
    say(
        f"note: up to {sample} random chunks of 1 MiB were read of each file: if {SHARE:.0%} of a file were "
        f"damaged, that would have been found with a probability of at least {found:.1%}"
    )


def exit_with(finished: RunFinished) -> Never:
    """End a typer command with the exit code of a run."""
    import typer

    raise typer.Exit(finished.exit_code)


def run_ensure(
    names: Sequence[str],
    options: EnsureOptions | None = None,
    *,
    json: bool = False,
    quiet: bool = False,
    shard: Shard | None = None,
    jitter: float | None = None,
) -> int:
    """Make models present, report progress, and print their directories.

    Args:
        names: The models, or references, which are pinned if they are new; the project's when empty.
        options: All options of the run.
        json: Whether stdout gets the events instead of the directories.
        quiet: Whether to print nothing but the directories and errors.
        shard: Which part of the models to make present; all of them without it.
        jitter: The longest random wait before the first request, in seconds; no wait without it.

    Returns:
        The exit code.

    Raises:
        ModelfetchError: The run could not start.
    """
    from modelfetch.engine.options import EnsureOptions

    options = options or EnsureOptions()
    workspace = Workspace.open(options.settings)
    if any(map(is_reference, names)):
        from modelfetch.cli.pinning import pin_new

        names, is_new = pin_new(workspace, names, offline=options.run.offline, json=json, quiet=quiet)
        workspace = Workspace.open(options.settings) if is_new else workspace
    manifests = workspace.manifests(names)
    _report_warm_reasons(workspace, manifests)
    if shard is not None:
        manifests = shard.of(manifests)
        if not (manifests or quiet):
            say(f"shard {shard.text} has no model: there are fewer models than shards")
    if not workspace.loaded.settings.swarm.enabled:
        return _ensure(workspace, manifests, options, jitter or 0.0, json=json, quiet=quiet).exit_code
    from modelfetch.cli.swarm_run import linger, session_of

    with session_of(workspace, options) as (swarmed, swarm):
        finished = _ensure(workspace, manifests, swarmed, jitter or 0.0, json=json, quiet=quiet)
        if swarm is not None and finished.exit_code == 0:
            sys.stdout.flush()  # who reads it need not wait for the others
            linger(swarm, finished.seconds, quiet=quiet or json)
    return finished.exit_code


def _ensure(
    workspace: Workspace,
    manifests: Sequence[Manifest],
    options: EnsureOptions,
    jitter: float,
    *,
    json: bool,
    quiet: bool,
) -> RunFinished:
    """Run, and print the directories of the models."""
    ready = Ready()
    events = _started(workspace, manifests, options, jitter, quiet=quiet or json)
    finished = run(workspace, events, json=json, quiet=quiet, also=ready)
    # What is removed must be reported, so a quiet run removes nothing.
    if not quiet and finished.exit_code == 0:
        _look_after(workspace)
    if not json:
        for manifest in manifests:
            if manifest.name in ready.directories:
                write_path(ready.directories[manifest.name])
    return finished


def _report_warm_reasons(workspace: Workspace, manifests: Sequence[Manifest]) -> None:
    """Print why there was no quick answer, if verbose output was requested."""
    if tracing.active is not None:
        from modelfetch.cli.warm_reasons import report_warm_reasons

        report_warm_reasons(tracing.active, workspace.loaded.cache_dir, [each.name for each in manifests])


def _started(
    workspace: Workspace, manifests: Sequence[Manifest], options: EnsureOptions, jitter: float, *, quiet: bool
) -> Iterator[Event]:
    """Start a run; with ``jitter``, after a random wait if the run needs a request."""
    events = workspace.ensure(manifests, options)  # before the wait, which counts against the time limit
    if not jitter:
        return events
    from modelfetch.cli.jitter import delayed, needs_request

    if not needs_request(workspace, manifests, options):
        return events
    return delayed(events, jitter, quiet=quiet)


def _look_after(workspace: Workspace) -> None:
    """Do the upkeep of the cache if it is due, and report it."""
    from modelfetch.keep.upkeep import upkeep

    for line in upkeep(workspace, time.time()):
        say(line)


def run_verify(
    names: Sequence[str],
    flags: Mapping[str, object] | None = None,
    options: RunOptions | None = None,
    *,
    quick: bool = False,
    repair: bool = False,
    strict: bool = False,
    sample: int = 0,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Check models, report progress, and print the files that are not right.

    Args:
        names: The models; all that are present when empty.
        flags: Settings for this run alone, by dotted name.
        options: What runs of every kind can be asked for.
        quick: Whether to read only files whose stat changed since they were verified.
        repair: Whether to fetch bad and missing files again.
        strict: Whether files that a manifest does not list are failures.
        sample: How many chunks of each file to read instead of all of it; 0 for all.
        json: Whether stdout gets the events instead of the bad files.
        quiet: Whether to print nothing but the bad files and errors.

    Returns:
        The exit code.

    Raises:
        ModelfetchError: The run could not start.
    """
    from modelfetch.engine.setup import RunOptions

    workspace = Workspace.open(flags)
    if any(map(is_reference, names)):
        from modelfetch.cli.pinning import names_of

        names = names_of(workspace, names)
    manifests = workspace.manifests(names) if names else workspace.present()
    if not (manifests or json or quiet):
        say("nothing to verify: no model is present yet")
    events = workspace.verify(
        manifests, options or RunOptions(), quick=quick, repair=repair, strict=strict, sample=sample
    )
    finished = run(workspace, events, json=json, quiet=quiet)
    if not json:
        print_bad(finished, quiet=quiet)
    if sample and manifests and not (json or quiet or finished.exit_code):
        _say_chance(manifests, sample)
    return finished.exit_code
