"""``ensure --jitter SECONDS``: a random wait before the first request, for jobs that start at the same time.

The jobs of a matrix start within a second, and all of them ask the same hosts. If each waits for a random
time up to a limit, their requests are spread over that time::

    $ modelfetch ensure --shard 1/8 --jitter 30
    waiting 17 s before the first request (--jitter 30)

A run that needs no request does not wait: everything is present, the network is off, or the files come from
this disk. The wait counts against ``--timeout``, and holds no lock.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.cli.output import say
from modelfetch.errors import UsageError
from modelfetch.model.source_kinds import SourceKind

if TYPE_CHECKING:
    from modelfetch.engine.events import Event, Planned
    from modelfetch.engine.options import EnsureOptions
    from modelfetch.model.manifest import Manifest
    from modelfetch.workspace import Workspace

LONGEST: Final = 3600.0
"""The largest limit, in seconds. Jobs have time limits of hours, and a larger number is a mistake."""


def check_jitter(jitter: float, timeout: float | None) -> None:
    """Refuse a limit that cannot be used.

    Raises:
        UsageError: It is no number from 0 to :data:`LONGEST`, or the wait may take all of ``--timeout``.
    """
    if not 0 <= jitter <= LONGEST:  # also for nan, which compares as false
        raise UsageError(
            f"--jitter {jitter:g} is not from 0 to {LONGEST:g}",
            hint="Give the longest wait in seconds, such as --jitter 30.",
        )
    if timeout is not None and jitter >= timeout:
        raise UsageError(
            f"--jitter {jitter:g} leaves no time of --timeout {timeout:g}",
            hint="The wait counts against the time limit: give a shorter one, or more --timeout.",
        )


def needs_request(workspace: Workspace, manifests: Sequence[Manifest], options: EnsureOptions) -> bool:
    """Whether a run would ask another machine for a file. Reads the cache's directories, and no file."""
    if options.run.offline or workspace.loaded.offline:
        return False
    return options.force or any(map(_is_remote, workspace.plan(manifests, options.run)))


def _is_remote(planned: Planned) -> bool:
    """Whether a missing file of a model has a source on another machine as its first one."""
    missing = (file for file in planned.files if file.held < file.size)
    first = (file.sources[0].partition(" ")[0] for file in missing if file.sources)
    return any(SourceKind(kind).needs_network for kind in first)


def delayed(
    events: Generator[Event, None, None],
    limit: float,
    *,
    quiet: bool,
    sleep: Callable[[float], None] = time.sleep,
    choose: Callable[[float, float], float] = random.uniform,
) -> Generator[Event, None, None]:
    """Wait for a random time before a run, and then run it.

    The wait comes after the first event, so that a run that is interrupted in it has a beginning and an end
    like any other. It comes before the second one, and so before the run takes a lock.

    Args:
        events: The run. Its time limit counts from its construction.
        limit: The longest wait, in seconds.
        quiet: Whether the wait is not announced.
        sleep: Waits; a signal ends the wait with an exception.
        choose: Returns a random number between two others.
    """
    try:
        yield next(events)
        seconds = choose(0.0, limit)
        if not quiet:
            say(f"waiting {seconds:.0f} s before the first request (--jitter {limit:g})")
        sleep(seconds)
        yield from events
    finally:
        events.close()
