"""Run the command line of this process: signals, exit codes, and a traceback only for bugs.

The most common command lines (``modelfetch ensure NAME``, ``modelfetch verify NAME``) are understood without
typer, whose import takes more than half as long as that of HTTP. Everything else goes to
:mod:`modelfetch.cli.app`.

Exit codes are those of the errors (``docs/reference/errors.md``), and:

    1    a bug
    130  Ctrl-C; other signals have 128 + their number
    141  the reader of stdout went away, as with ``modelfetch list | head``
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Never

from modelfetch import streams
from modelfetch.cli.output import complain, say, say_error
from modelfetch.errors import ManifestError, ModelfetchError, StoreError, interrupt_behind
from modelfetch.model.text import sanitise
from modelfetch.version import __version__
from modelfetch.warm import plain_names

GARBAGE = 50_000
"""New objects, instead of 700, after which Python collects garbage. Imports create a hundred thousand objects
that all stay in use; scanning them again and again took 6 % of the time until the first request."""

EXIT_BUG = 1
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141
"""128 + SIGPIPE: the exit code that shells report for a program whose reader went away."""


def run() -> Never:
    """Run the command line of this process, and exit."""
    gc.set_threshold(GARBAGE)
    _signals()
    try:
        code = _call()
    except KeyboardInterrupt as again:  # a second Ctrl-C, while the first one was reported
        code = _cut_short(again)
    end(code)


def end(code: int) -> Never:
    """End the process with an exit code, or with another one when data for stdout was lost."""
    _leave(_settled(code))


def _settled(code: int) -> int:
    """The exit code, given the state of stdout: lost data is reported and is a failure."""
    try:
        error = streams.lost()
        if error is None:
            return code
        if isinstance(error, ConnectionError):  # the reader closed the pipe: no news for it, so no message
            return code or EXIT_PIPE
        why = "it is closed" if error.errno == errno.EBADF else error.strerror
        hint = "Nothing else failed: redirect the output to another place." if code == 0 else ""
        say_error(f"standard output cannot be written: {why}", hint)
    except KeyboardInterrupt as again:
        return _cut_short(again)
    return code or StoreError.exit_code


def _call() -> int:
    try:
        return _command()
    except ModelfetchError as error:
        return _expected(error)
    except KeyboardInterrupt as end:
        return _cut_short(end)
    except ImportError as error:
        from modelfetch.net.client import missing

        known = missing(error)
        return _expected(known) if isinstance(known, ModelfetchError) else _bug()
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            return _bug()
        return _expected(StoreError("too many files are open", hint="Raise the limit (ulimit -n)."))
    except Exception as error:
        interrupt = interrupt_behind(error)
        return _bug() if interrupt is None else _cut_short(interrupt)


def _command() -> int:
    """Run the command line, without typer if possible."""
    is_quiet = not {"--quiet", "-q"}.isdisjoint(sys.argv)
    if (names := plain_names(sys.argv[1:], "ensure")) is not None:
        from modelfetch.cli.run import run_ensure

        code = run_ensure(names, quiet=is_quiet)
    elif (names := plain_names(sys.argv[1:], "verify")) is not None:
        from modelfetch.cli.run import run_verify

        code = run_verify(names, quiet=is_quiet)
    else:
        from modelfetch.cli.app import call

        code = call()
    return code


def _cut_short(end: KeyboardInterrupt) -> int:
    """The exit code after a signal."""
    return int(getattr(end, "exit_code", EXIT_INTERRUPTED))


def _expected(error: ModelfetchError) -> int:
    """Print an expected error and its hint; returns its exit code."""
    headline, *details = error.message.splitlines() or [""]  # several wrong settings are a line each
    if isinstance(error, ManifestError) and len(error.faults) > 1:
        details = [f"{error.where}: {fault}" for fault in error.faults]
    complain(type(error).code, headline.rstrip(":"), error.hint, [sanitise(detail) for detail in details])
    return error.exit_code


def _bug() -> int:
    import traceback

    from modelfetch.settings.redaction import redact_text

    for line in redact_text(traceback.format_exc()).splitlines():
        say(sanitise(line))
    say_error(
        f"this is a bug in modelfetch {__version__}",
        "Please report it with the lines above and the command you ran; look through them for secrets first.",
    )
    return EXIT_BUG


def _signals() -> None:
    """Let SIGTERM and SIGHUP end a run as Ctrl-C does, with their own exit codes.

    A signal that is ignored at the start stays ignored: so ``nohup`` keeps a command running without its
    terminal.
    """
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), _end)


def _leave(code: int) -> Never:
    """End the process at once, whatever signals arrive meanwhile.

    All work is done and on disk by now. The normal end of the interpreter would take 20 ms for a few hundred
    modules, a tenth of a short run, and a signal during it would replace the exit code.
    """
    while True:
        try:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # it is closed, or its reader went away
                    stream.flush()
            os._exit(code)
        except KeyboardInterrupt:  # a further Ctrl-C must not change the exit code
            continue


def _end(number: int, frame: FrameType | None) -> Never:  # noqa: ARG001 - the signature signals want
    from modelfetch.engine.stream import Hangup, Terminated

    raise Terminated if number == signal.SIGTERM else Hangup
