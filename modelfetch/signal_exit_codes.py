"""Exit codes of commands that a signal ended, 128 + the number of the signal; and what their handler raises.

Shells report a program that a signal ended by this number (POSIX XCU 2.8.2), so scripts can tell Ctrl-C from
a failure. The exit codes of errors are attributes of the classes in :mod:`modelfetch.errors`.

The codes are written as numbers, and the module imports nothing: importing :mod:`signal` takes longer than
the quick start of a command may, and Windows has neither SIGHUP nor SIGPIPE. The handler needs that, too: a
signal may come while any module is half loaded, and nothing can be imported from such a one.
"""

SIGNAL_BASE = 128
"""What a shell adds to the number of the signal."""

SIGHUP_EXIT = SIGNAL_BASE + 1
"""The terminal was closed."""

SIGINT_EXIT = SIGNAL_BASE + 2
"""Ctrl-C; also the exit code of a run that was cancelled in another way."""

SIGPIPE_EXIT = SIGNAL_BASE + 13
"""The reader of stdout closed its end, as ``head`` does."""

SIGTERM_EXIT = SIGNAL_BASE + 15
"""The process was asked to end; also the exit code of a job whose server was stopped."""


class Terminated(KeyboardInterrupt):
    """SIGTERM. Raised by a signal handler, it ends a run like Ctrl-C."""

    exit_code = SIGTERM_EXIT


class Hangup(Terminated):
    """SIGHUP: the terminal was closed."""

    exit_code = SIGHUP_EXIT
