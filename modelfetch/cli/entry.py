"""Run a command in this process: set up signals, report errors, choose the exit code.

Expected errors (:class:`~modelfetch.errors.ModelfetchError`) become one message and a hint. Signals end a
command with the exit codes in :mod:`modelfetch.signal_exit_codes`. Only a bug prints a traceback, with exit
code 1.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final, Never

from modelfetch import streams, tracing
from modelfetch.cli.output import (
    begin_json,
    expects_json,
    print_error_json,
    report_error,
    say,
    say_error,
)
from modelfetch.errors import ManifestError, ModelfetchError, StoreError, interrupt_behind
from modelfetch.model.text import sanitize
from modelfetch.signal_exit_codes import SIGINT_EXIT, SIGPIPE_EXIT, Hangup, Terminated
from modelfetch.version import __version__
from modelfetch.warm import is_quiet, plain_names

_QUERIES: Final = {"list": (0, 1), "show": (1,), "path": (1, 2)}
"""Commands that print what is known of models, with the numbers of their arguments without any option."""

EXIT_BUG = 1


def run() -> Never:
    """Run the command line of this process, and exit."""
    _signals()
    try:
        code = _call()
    except KeyboardInterrupt as again:  # a second Ctrl-C, while the first one was reported
        code = _interrupt_code(again)
    end(code)


def end(code: int) -> Never:
    """Exit with a code, or with another one if data for stdout could not be written."""
    _exit_now(_checked(code))


def _checked(code: int) -> int:
    """Check stdout, report lost data, and return the exit code: losing data is a failure."""
    try:
        error = streams.lost()
        if error is None:
            return code
        if isinstance(error, ConnectionError):
            # The reader closed the pipe on purpose, as head does: nothing to report.
            return code or SIGPIPE_EXIT
        why = "it is closed" if error.errno == errno.EBADF else error.strerror
        hint = "The command succeeded otherwise. Redirect its output to another place." if code == 0 else ""
        say_error(f"cannot write to standard output: {why}", hint)
    except KeyboardInterrupt as again:
        return _interrupt_code(again)
    return code or StoreError.exit_code


def _call() -> int:
    begin_json(is_begun=False)
    try:
        return _command()
    except ModelfetchError as error:
        return _report(error)
    except KeyboardInterrupt as end:
        return _interrupt_code(end)
    except ImportError as error:
        from modelfetch.net.tls import no_ssl

        return _report(no_ssl()) if error.name in ("ssl", "_ssl") else _bug(error)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            return _bug(error)
        return _report(
            StoreError(
                "too many files are open", hint="Raise the limit of open files (ulimit -n), and run it again."
            )
        )
    except Exception as error:
        interrupt = interrupt_behind(error)
        return _bug(error) if interrupt is None else _interrupt_code(interrupt)


def _command() -> int:
    """Run the command of this process.

    The usual forms of the commands that scripts call most are parsed without typer: loading it takes more
    than half as long as loading an HTTP client. They call the same functions as the commands of
    :mod:`modelfetch.cli.app`, so only the parsing is done in two ways.
    """
    arguments = sys.argv[1:]
    if tracing.active is not None or "MODELFETCH_VERBOSE" in os.environ:
        from modelfetch.cli.verbosity import start_by_environment

        start_by_environment()
    code = _run_plain(arguments)
    if code is None:
        from modelfetch.cli.app import call

        code = call()
    return code


def _run_plain(arguments: list[str]) -> int | None:
    """Run a command whose arguments are names alone, or names and ``--quiet``.

    Returns:
        The exit code; None if typer has to parse the arguments.
    """
    if (names := plain_names(arguments, "ensure")) is not None:
        from modelfetch.cli.run import run_ensure

        return run_ensure(names, quiet=is_quiet(arguments))
    if (names := plain_names(arguments, "verify")) is not None:
        from modelfetch.cli.run import run_verify

        return run_verify(names, quiet=is_quiet(arguments))
    if is_plain_query(arguments):
        from modelfetch.cli import queries

        command: Callable[..., None] = getattr(queries, f"run_{arguments[0]}")
        command(*arguments[1:])
        return 0
    return None


def is_plain_query(arguments: list[str]) -> bool:
    """Whether arguments are ``list [PATTERN]``, ``show NAME`` or ``path NAME [FILE]``, without options."""
    command, *words = arguments or [""]
    # An empty word is no name, and typer reports it; a word with a dash is an option, or ends the options.
    return len(words) in _QUERIES.get(command, ()) and all(word[:1] not in ("", "-") for word in words)


def _interrupt_code(end: KeyboardInterrupt) -> int:
    """Exit code of an interrupt: that of its signal if it has one, else that of Ctrl-C."""
    return int(getattr(end, "exit_code", SIGINT_EXIT))


def _report(error: ModelfetchError) -> int:
    """Report an expected error, and return its exit code."""
    headline, *details = error.message.splitlines() or [""]  # several wrong settings have one line each
    if isinstance(error, ManifestError) and len(error.faults) > 1:
        details = [f"{error.where}: {fault}" for fault in error.faults]
    report_error(
        type(error).code,
        error.exit_code,
        headline.rstrip(":"),
        error.hint,
        [sanitize(detail) for detail in details],
    )
    return error.exit_code


def _bug(error: Exception) -> int:
    """Report an unexpected error with its traceback, and return the exit code for bugs.

    The traceback is always on stderr. With ``--json`` stdout has the error too, unless a run has ended with
    it.
    """
    import traceback

    from modelfetch.settings.text_redaction import redact_text

    for line in redact_text(traceback.format_exc()).splitlines():
        say(sanitize(line))
    report = "Please report it with the command you ran and the lines above. Remove secrets from them first."
    say_error(f"this is a bug in modelfetch {__version__}", report)
    if expects_json(sys.argv[1:]):
        words = redact_text(f"{type(error).__name__}: {error}")
        print_error_json("bug", EXIT_BUG, words, "Please report it with the command and what stderr has.")
    return EXIT_BUG


def _signals() -> None:
    """Let SIGTERM and SIGHUP end a run as Ctrl-C does, with their own exit codes.

    A signal that is ignored from the start stays ignored: this is how ``nohup`` keeps a command running after
    its terminal was closed.
    """
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), _raise_interrupt)


def _exit_now(code: int) -> Never:
    """Exit at once, without Python's shutdown, and ignore further interrupts.

    Everything is written and closed by now. Unloading a few hundred modules would take 20 ms, a tenth of a
    short run, and a signal in the middle of it would change the exit code.
    """
    while True:
        try:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # the reader has closed the other end
                    stream.flush()
            os._exit(code)
        except KeyboardInterrupt:  # Ctrl-C again: the exit code is already decided
            continue


def _raise_interrupt(number: int, frame: FrameType | None) -> Never:  # noqa: ARG001 - signal handlers get both
    raise Terminated if number == signal.SIGTERM else Hangup
