"""The command line: parse, call, report. Nothing is decided here."""

from __future__ import annotations

import sys

from modelfetch.exit_codes import SIGINT_EXIT, SIGNAL_BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Never

PRESS_AGAIN_SECONDS = 0.05
"""When an interrupt that was lost is repeated: Python is out of the place that cannot raise it by then."""


def main() -> Never:
    """Entry point of the ``modelfetch`` command."""
    sys.unraisablehook = _unraisable  # before the imports, which is where it happens
    from modelfetch.streams import prepare

    prepare()
    from modelfetch.cli.entry import run

    run()


def print_paths(paths: Sequence[str]) -> Never:
    """Print paths, a line each, on a stdout that is not as usual, and end the process as is due then."""
    from modelfetch import streams

    streams.prepare()
    from modelfetch.cli.entry import end

    for path in paths:
        streams.write_path(path)
    end(0)


def _unraisable(what: sys.UnraisableHookArgs) -> None:
    """Let no interrupt be lost.

    In a destructor or the callback of a weak reference, of which each import has one, Python cannot raise
    what a signal's handler raises: it would be told and forgotten, and the command run on.
    """
    if not issubclass(what.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(what)
        return
    import _thread  # threading may be what is being imported

    number = getattr(what.exc_value, "exit_code", SIGINT_EXIT) - SIGNAL_BASE
    _thread.start_new_thread(_press_again, (_thread.get_ident(), number))


def _press_again(main: int, number: int) -> None:
    """Send a signal to the main thread once more."""
    import time

    time.sleep(PRESS_AGAIN_SECONDS)
    if sys.platform == "win32":
        import _thread

        _thread.interrupt_main(number)
    else:
        import signal

        signal.pthread_kill(main, number)  # not to the process: what it waits in is to be cut short
