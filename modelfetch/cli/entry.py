"""From the process to a command and back: signals, exit codes, and no traceback but for bugs."""

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
from modelfetch.exit_codes import SIGINT_EXIT, SIGPIPE_EXIT
from modelfetch.model.text import sanitise
from modelfetch.version import __version__
from modelfetch.warm import plain_names

GARBAGE = 50_000
"""Objects, instead of 700, after which Python looks for cycles among the young ones. Imports make a hundred
thousand that all stay: looking through them again and again was 6 % of the time until the first request."""

EXIT_BUG = 1


def run() -> Never:
    """Run the command line of this process, and exit."""
    gc.set_threshold(GARBAGE)
    _signals()
    try:
        code = _call()
    except KeyboardInterrupt as again:  # by an impatient person, while the first one was being told
        code = _cut_short(again)
    end(code)


def end(code: int) -> Never:
    """End the process with an exit code, or with another one where what was asked for was not written."""
    _leave(_settled(code))


def _settled(code: int) -> int:
    """The exit code after a look at stdout: data that was lost is a failure, and told."""
    try:
        error = streams.lost()
        if error is None:
            return code
        if isinstance(error, ConnectionError):  # the reader went away, and knows it
            return code or SIGPIPE_EXIT
        why = "it is closed" if error.errno == errno.EBADF else error.strerror
        hint = "The command succeeded otherwise. Redirect its output to another place." if code == 0 else ""
        say_error(f"cannot write to standard output: {why}", hint)
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
        return _expected(
            StoreError(
                "too many files are open", hint="Raise the limit of open files (ulimit -n), and run it again."
            )
        )
    except Exception as error:
        interrupt = interrupt_behind(error)
        return _bug() if interrupt is None else _cut_short(interrupt)


def _command() -> int:
    """Do what the command line says.

    The commonest ones are understood without typer, which takes more than half as long to load as HTTP.
    """
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
    return int(getattr(end, "exit_code", SIGINT_EXIT))


def _expected(error: ModelfetchError) -> int:
    """Say what happened and what to do next."""
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
        "Please report it with the command you ran and the lines above. Remove secrets from them first.",
    )
    return EXIT_BUG


def _signals() -> None:
    """SIGTERM and SIGHUP end a run like Ctrl-C does, with their own exit codes.

    One that is ignored from the start stays so: that is how ``nohup`` lets a command outlive its terminal.
    """
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), _end)


def _leave(code: int) -> Never:
    """End the process at once, whatever signal comes between.

    All is done and on the disk. Taking a few hundred modules apart would take 20 ms, a tenth of a short run,
    and a signal in the middle of it would be what the process dies of.
    """
    while True:
        try:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # nobody reads it any more
                    stream.flush()
            os._exit(code)
        except KeyboardInterrupt:  # by an impatient person
            continue


def _end(number: int, frame: FrameType | None) -> Never:  # noqa: ARG001 - the signature signals want
    from modelfetch.engine.stream import Hangup, Terminated

    raise Terminated if number == signal.SIGTERM else Hangup
