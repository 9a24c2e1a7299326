"""The command line: parse arguments, call the library, report the result.

:func:`main` is the entry point once the warm path (:mod:`modelfetch.warm`) has no answer. It makes the
standard streams safe to write to, and then runs :mod:`modelfetch.cli.entry`. What a command does is decided
by the library; the modules here only translate options and print results.
"""

from __future__ import annotations

import gc
import sys

from modelfetch.signal_exit_codes import SIGINT_EXIT, SIGNAL_BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Never

GARBAGE = 50_000
"""New objects after which Python looks for reference cycles, instead of 700. Imports create a hundred
thousand objects that all stay: checking them repeatedly was 6 % of the time until the first request."""

PRESS_AGAIN_SECONDS = 0.05
"""Delay before a lost interrupt is sent again, in seconds: by then Python has left the place that cannot
raise."""


def main() -> Never:
    """Entry point of the ``modelfetch`` command."""
    gc.set_threshold(GARBAGE)  # before the imports, which create most objects
    sys.unraisablehook = _unraisable  # before the imports: interrupts are lost during imports above all
    from modelfetch.streams import prepare

    prepare()
    from modelfetch.cli.entry import run

    run()


def print_paths(paths: Sequence[str]) -> Never:
    """Print paths, one per line, after a plain write to stdout failed, and exit with the code for that."""
    from modelfetch import streams

    streams.prepare()
    from modelfetch.cli.entry import end

    for path in paths:
        streams.write_path(path)
    end(0)


def _unraisable(what: sys.UnraisableHookArgs) -> None:
    """Send an interrupt again that Python could not raise.

    A signal handler may run in a destructor or in the callback of a weak reference; each import has one.
    Python cannot raise there: it would print the exception, and the command would continue.
    """
    if not issubclass(what.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(what)
        return
    import _thread  # not threading: it may be the module that is being imported

    number = getattr(what.exc_value, "exit_code", SIGINT_EXIT) - SIGNAL_BASE
    _thread.start_new_thread(_press_again, (_thread.get_ident(), number))


def _press_again(main: int, number: int) -> None:
    """Send a signal to the main thread again."""
    import time

    time.sleep(PRESS_AGAIN_SECONDS)
    if sys.platform == "win32":
        import _thread

        _thread.interrupt_main(number)
    else:
        import signal

        signal.pthread_kill(main, number)  # not to the process: this interrupts a blocking call of the thread
