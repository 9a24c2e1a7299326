"""``ensure`` in a swarm: opens it for the run, and goes on uploading for a while afterwards.

A machine that left as soon as it has everything would take its upload away from those that wait for it. So
the process stays while connected machines are not done and take what it sends. The result is printed before,
and Ctrl-C ends this at once, with success.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from modelfetch.cli.output import say
from modelfetch.engine.swarm_setup import open_for_run
from modelfetch.lazy_dataclass import replace
from modelfetch.reporters.terminal_text import plural

if TYPE_CHECKING:
    from modelfetch.engine.options import EnsureOptions
    from modelfetch.engine.swarm_session import Session
    from modelfetch.workspace import Workspace

MOST_SECONDS: Final = 60.0
"""Longest time to stay, or as long as the run took if that is longer."""
SILENT_SECONDS: Final = 5.0
"""Seconds without any upload after which nobody is waiting for this machine."""
ALONE_SECONDS: Final = 1.0
"""Seconds without a machine that is not done, after which none is likely to come back."""
LOOK_SECONDS: Final = 0.25
"""Seconds between two looks at the figures, which the engine reports twice a second."""


@contextmanager
def session_of(
    workspace: Workspace, options: EnsureOptions
) -> Iterator[tuple[EnsureOptions, Session | None]]:
    """Open the swarm of a run, and close it in the end.

    Yields:
        The options with the swarm in them, and the swarm; None if it is off or cannot be.
    """
    is_asked = bool(options.settings.get("swarm.enabled"))
    session = open_for_run(
        workspace.loaded,
        workspace.store,
        workspace.notices.add,
        offline=options.run.offline,
        only=options.run.only,
        is_asked=is_asked,
    )
    try:
        attached = replace(options.attached, swarm=session, opens_swarm=False)
        yield replace(options, attached=attached), session
    finally:
        if session is not None:
            session.close()


def linger(
    session: Session,
    seconds: float,
    *,
    quiet: bool,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Go on uploading while others need it.

    Args:
        session: The swarm.
        seconds: How long the run took.
        quiet: Whether to print nothing.
        clock: Monotonic seconds.
        sleep: Waits.
    """
    began = needed_at = moved_at = clock()
    sent, is_said = session.reports.uploaded, quiet
    with suppress(KeyboardInterrupt):
        while session.is_active and clock() - began < max(MOST_SECONDS, seconds):
            now, incomplete = clock(), session.reports.incomplete_peers
            if session.reports.uploaded > sent:
                sent, moved_at = session.reports.uploaded, now
            needed_at = now if incomplete else needed_at
            if now - needed_at >= ALONE_SECONDS or now - moved_at >= SILENT_SECONDS:
                return
            if incomplete and not is_said:
                is_said = True
                say(f"uploading to {plural(incomplete, 'incomplete peer')}; Ctrl-C ends this")
            sleep(LOOK_SECONDS)
